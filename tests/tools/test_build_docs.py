"""docs/build.md is a reference: every key, default and kind of the specification stands there as the code has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mixline.storage.fields import PARSE
from mixline.storage.spec import EVENTS, SPACE, TABLE, EventsSpec, SpaceSpec
from mixline.storage.spec_checks import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "build.md").read_text()
DEFAULTS = {
    "events.half_life_days": EventsSpec("", "", "").half_life_days,
    "events.history_max": EventsSpec("", "", "").history_max,
    "events.popular_max": EventsSpec("", "", "").popular_max,
    "events.neighbours_max": EventsSpec("", "", "").neighbours_max,
    "events.neighbours_history": EventsSpec("", "", "").neighbours_history,
    "events.unknown": EventsSpec("", "", "").unknown,
    "events.time_unit": EventsSpec("", "", "").time_unit,
    "spaces.NAME.metric": SpaceSpec().metric,
    "spaces.NAME.index": SpaceSpec().index,
}


@pytest.mark.parametrize("name", [*TABLE, *EVENTS, *SPACE])
def test_every_key_is_in_the_table(name: str) -> None:
    assert re.search(rf"^\|[^|]*[`.]{name}`", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_the_code(name: str) -> None:
    row = re.search(rf"^\| `{re.escape(name)}`.*\| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    value = DEFAULTS[name]
    assert row[1] == (
        f'`"{value}"`' if isinstance(value, str) else f"{value:,.0f}" if value >= 10_000 else f"{value:g}"
    )


@pytest.mark.parametrize("name", [*PARSE, *FORMATS])
def test_every_kind_and_format_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE
