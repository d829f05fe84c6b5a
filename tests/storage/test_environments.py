"""Several handles on one epoch in one process share its LMDB environment, and the last one closes it."""

import shutil

import pytest
from click.testing import CliRunner

from mixline.storage import environments
from mixline.storage.store import Store
from mixline.tools.build import build


@pytest.fixture
def store(tmp_path):
    """A store of three items."""

    (tmp_path / "items.csv").write_text("id,title\n1,a\n2,b\n3,c\n")
    (tmp_path / "spec.toml").write_text('[items]\npath = "items.csv"\nid = "id"\ncolumns = { title = "text" }\n')
    done = CliRunner().invoke(build, [str(tmp_path / "spec.toml"), "--out", str(tmp_path / "store"), "--quiet"])
    assert done.exit_code == 0, done.output
    return tmp_path / "store"


def test_handles_share_and_the_last_closes(store):
    before = len(environments._open)
    first, second = Store(store).open(), Store(store).open()
    assert len(environments._open) == before + 1
    first.close()
    assert second.items.record(1) == {"title": "b"}
    second.close()
    assert len(environments._open) == before


def test_a_replaced_epoch_is_another_environment(store, tmp_path):
    shutil.copytree(store, tmp_path / "copy")
    with Store(store).open() as one, Store(tmp_path / "copy").open() as other:
        assert one.items.record(0) == other.items.record(0)
        assert one.records.path != other.records.path
