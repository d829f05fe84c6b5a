"""What a build and a verification tell while they work: phases in their order, amounts that add up to the totals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mixline.node.build_kernels import build_kernels
from mixline.storage.builder import Builder
from mixline.storage.file_source import FileSource
from mixline.storage.spec import read_spec
from mixline.tools import epoch
from mixline.tools.cli import main
from mixline.tools.progress import Lines

SPEC = """
[items]
path = "items.csv"
id = "item"
[events]
path = "events.csv"
user = "user"
item = "item"
[spaces.taste]
learn = "als"
dim = 2
iterations = 4
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "items.csv").write_text("item\n" + "".join(f"{at}\n" for at in range(30)))
    (tmp_path / "events.csv").write_text("user,item\n" + "".join(f"{at % 7},{at % 30}\n" for at in range(300)))
    (tmp_path / "spec.toml").write_text(SPEC)
    return tmp_path / "spec.toml"


class Heard:
    """A listener that remembers: name, total, sum of the amounts."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int | None, int]] = []

    def phase(self, name: str, total: int | None = None) -> None:
        self.phases.append((name, total, 0))

    def advance(self, amount: int) -> None:
        name, total, done = self.phases[-1]
        self.phases[-1] = name, total, done + amount


def test_amounts_add_up(spec: Path, tmp_path: Path) -> None:
    heard = Heard()
    manifest = Builder(FileSource(read_spec(spec)), tmp_path / "store", build_kernels(), 1 << 30, heard).build()
    size = sum(one.bytes for one in manifest.files.values())
    (pairs,) = manifest.files["graph/seen_rows.npy"].shape or ()
    assert heard.phases == [
        ("reading items", None, 30),
        ("finding users in the events", None, 300),
        ("reading events", None, 300),
        ("settling events", 300, 300),
        ("turning who acted on what", pairs, pairs),
        ("counting co-occurrence", 30, 30),
        ("learning taste", 4, 4),
        ("copying taste", 37, 37),
        ("coding taste", 30, 30),
        ("writing digests", size, size),
    ]


def test_lines_on_stderr_and_one_result(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    store = tmp_path / "store"
    monkeypatch.setattr(sys, "argv", ["mixline", "build", str(spec), "--out", str(store)])
    main()
    shown = capsys.readouterr()
    assert shown.err.splitlines()[0] == "reading items"
    assert shown.out.startswith(f"epoch 1 of {store}: 30 items, 7 users, 300 events (0 skipped), ")
    monkeypatch.setattr(epoch, "SHOWN_BYTES", 0)
    monkeypatch.setattr(sys, "argv", ["mixline", "epoch", "verify", str(store)])
    main()
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("epoch 1: whole\n", "reading epoch 1\n")


def test_a_long_phase_tells_where_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    now = [100.0]
    monkeypatch.setattr("mixline.tools.progress.time.monotonic", lambda: now[0])
    lines = Lines()
    lines.phase("reading", 4000)
    for _ in range(4):
        now[0] += 3
        lines.advance(1000)
    assert capsys.readouterr().err == "reading\nreading: 2,000 of 4,000\nreading: 4,000 of 4,000\n"
