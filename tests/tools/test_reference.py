"""The surfaces' reference is what the components say of themselves today."""

from pathlib import Path

from mixline.node.components import KINDS
from mixline.tools.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "surfaces.md"


def test_the_page_is_current():
    assert PAGE.read_text() == reference(), "run: python -m mixline.tools.reference docs/surfaces.md"


def test_every_kind_is_described():
    text = reference()
    for kinds in KINDS.values():
        for component in set(kinds.values()):
            assert component.__doc__ and any(f"### `{kind}`" in text for kind in kinds if kinds[kind] is component)
