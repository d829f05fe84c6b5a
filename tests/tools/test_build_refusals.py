"""Bad specifications and bad input through ``mixline build``: named file, row, key and count; no half epoch.

Each case starts from the same good files and breaks them in one way; a store with one good epoch must come out
unchanged.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixline.tools.cli import main

SPEC = """
[items]
path = "films.csv"
id = "film"
columns = { score = "f32", year = "i64", seen = "bool", genres = "tags", poster = "bytes" }
[users]
path = "users.csv"
id = "who"
[events]
path = "events.csv"
user = "who"
item = "film"
time = "at"
action = "what"
weight = "stars"
[spaces.taste]
items = "items.npy"
users = "users.npy"
"""
FILMS = """film,score,year,seen,genres,poster
7,0.5,1950,true,drama|war,AAE=
8,1.5,1951,false,war,
9,,,,,AAE=
10,2.5,1953,yes,,
"""
USERS = "who\n1\n2\n3\n"
EVENTS = """who,film,at,what,stars
1,7,1500000000,view,1
2,8,2020-01-02T03:04:05,like,2
3,9,2020-01-02T03:04:05+01:00,view,0.5
1,10,1500000000.5,view,1
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "films.csv").write_text(FILMS)
    (tmp_path / "users.csv").write_text(USERS)
    (tmp_path / "events.csv").write_text(EVENTS)
    np.save(tmp_path / "items.npy", np.arange(8, dtype=np.float32).reshape(4, 2))
    np.save(tmp_path / "users.npy", np.ones((3, 2), dtype=np.float32))
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """Run the command in this process; (exit code, all it printed)."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mixline", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def contents(store: Path) -> dict[str, int]:
    """All that a reader could see of a store, with times of modification."""
    found = [path for path in store.rglob("*") if path.name not in ("LOCK", "epochs")]
    return {str(path): path.stat().st_mtime_ns for path in found}


def refuse(folder: Path, run: Callable[..., tuple[int, str]], code: int, needles: list[str], *options: str) -> str:
    """Build once more and expect a refusal that leaves ``folder``'s store as it is; returns what was printed."""
    store = folder / "store"
    before = contents(store)
    found, shown = run("build", folder / "spec.toml", "--out", store, "--quiet", *options)
    assert found == code, shown
    for needle in needles:
        assert needle in shown
    assert "Traceback" not in shown
    assert contents(store) == before
    return shown


Edit = tuple[str, str, str]  # file, text, what to put in its place

ROWS: dict[str, tuple[Edit, list[str]]] = {
    "f32": (
        ("films.csv", "8,1.5", "8,hot"),
        ["items.columns.score: ", "'score' is f32", "not a number: row 2 ('hot')"],
    ),
    "f32-range": (("films.csv", "8,1.5", "8,1e39"), ["items.columns.score: ", "beyond its range: row 2 (1e+39)"]),
    "i64-fraction": (
        ("films.csv", "1951", "1951.5"),
        ["items.columns.year: ", "not a whole number", "row 2 ('1951.5')"],
    ),
    "i64-range": (("films.csv", "1951", str(1 << 63)), ["items.columns.year: ", f"row 2 ('{1 << 63}')"]),
    "i64-underscore": (("films.csv", "1951", "19_51"), ["items.columns.year: ", "row 2 ('19_51')"]),
    "bool": (("films.csv", "false", "maybe"), ["items.columns.seen: ", "not true or false: row 2 ('maybe')"]),
    "bytes": (("films.csv", "war,\n", "war,=?\n"), ["items.columns.poster: ", "base64", "row 2 ('=?')"]),
    "id-negative": (("films.csv", "\n8,", "\n-8,"), ["items.id: an id is not a whole number", "row 2 ('-8')"]),
    "id-duplicate": (("films.csv", "\n10,", "\n8,"), ["items.id: duplicate id: row 4 (", "8, also in row 2"]),
    "id-missing": (("films.csv", "\n8,", "\n,"), ["items.id: an id is missing: row 2"]),
    "id-huge": (
        ("films.csv", "\n8,", f"\n{1 << 64},"),
        ["items.id: an id is not a whole number", f"row 2 ('{1 << 64}')"],
    ),
    "user-duplicate": (("users.csv", "3\n", "1\n"), ["users.csv: users.id: duplicate id: row 3"]),
    "event-item": (("events.csv", "2,8", "2,88"), ["events.csv: events.item: unknown item: row 2 ('88')"]),
    "event-user": (("events.csv", "2,8", "4,8"), ["events.csv: events.user: unknown user: row 2 ('4')"]),
    "event-user-word": (("events.csv", "2,8", "you,8"), ["events.user: an id is not a whole number", "row 2 ('you')"]),
    "event-user-missing": (("events.csv", "2,8", ",8"), ["events.user: unknown user: row 2 (None)"]),
    "event-time": (
        ("events.csv", "2020-01-02T03:04:05,", "soon,"),
        ["events.time: a time is missing", "row 2 ('soon')"],
    ),
    "event-weight": (("events.csv", "like,2", "like,-2"), ["events.weight: a weight", "row 2 ('-2')"]),
    "event-weight-nan": (("events.csv", "like,2", "like,nan"), ["events.weight: a weight", "row 2 ('nan')"]),
    "cells": (("films.csv", "\n8,1.5", "\n8,9,1.5"), ["films.csv: items.path: a line has 7 cells instead of 6: row 2"]),
    "no-rows": (("users.csv", "1\n2\n3\n", ""), ["users.csv: users.path: holds no rows"]),
    "column": (
        ("films.csv", "score", "scores"),
        ["items.columns.score: the file has no column 'score' (did you mean 'scores'?)"],
    ),
    "column-twice": (("films.csv", "year", "score"), ["items.columns.score: the file has 2 columns named 'score'"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_bad_row_is_named(good: Path, run: Callable, name: str) -> None:
    assert run("build", good / "spec.toml", "--out", good / "store", "--quiet") == (0, "")
    (file, old, new), needles = ROWS[name]
    text = (good / file).read_text()
    assert text.count(old) == 1
    (good / file).write_text(text.replace(old, new))
    refuse(good, run, 65, [file, "no epoch was made", *needles])


def test_faults_of_a_kind_are_counted_and_all_kinds_told(good: Path, run: Callable) -> None:
    rows = [f"{100 + at},{'x' if at % 2 else '1'},{'y' if at % 10 == 0 else '1'},,," for at in range(1000)]
    (good / "films.csv").write_text(FILMS + "\n".join(rows) + "\n")
    (good / "users.csv").write_text(USERS + "1\n2\n")
    (good / "store").mkdir()
    shown = refuse(good, run, 65, ["500 rows, first at row 6 ('x'); row 8 ('x'); row 10 ('x')"])
    assert "100 rows, first at row 5 ('y')" in shown
    assert "duplicate id: 2 rows, first at row 4" in shown
    assert len(shown.splitlines()) == 4


def test_rows_after_a_refused_line_keep_their_numbers(good: Path, run: Callable) -> None:
    (good / "store").mkdir()
    lines = FILMS.splitlines()
    body = ["1,2,3", *lines[1:3], "6,hot,,,,", "only,two", "", *lines[3:], "5,cold,,,,", "1"]
    (good / "films.csv").write_text("\n".join([lines[0], *body]) + "\n")
    shown = refuse(good, run, 65, ["instead of 6: row 1 ('1,2,3')", "2 rows, first at row 4 ('hot'); row 8 ('cold')"])
    assert "a line has 2 cells instead of 6: row 5" in shown
    assert "a line has 1 cells instead of 6: row 9" in shown


def test_numbers_hold_across_blocks(good: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixline.storage.inputs.CSV_ROW_BYTES", 64)
    (good / "store").mkdir()
    rows = [f"{100 + at},1.5,1900,true,war," for at in range(400)]
    rows[99], rows[100], rows[299] = "only,two", "9999,hot,1900,,,", "9998,cold,1900,,,"
    (good / "films.csv").write_text(FILMS.splitlines()[0] + "\n" + "\n".join(rows) + "\n")
    refuse(good, run, 65, ["2 rows, first at row 101 ('hot'); row 300 ('cold')", "2 cells instead of 6: row 100"])


def test_a_quote_that_is_never_closed(good: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixline.storage.inputs.CSV_ROW_BYTES", 256)
    (good / "store").mkdir()
    rows = "".join(f"{100 + at},1.5,1900,true,war{'' if at != 50 else chr(34)},\n" for at in range(99))
    (good / "films.csv").write_text(FILMS.replace(",war,", ',"war,') + rows)
    refuse(good, run, 65, ["films.csv: items.path: cannot be read", "a quote is never closed"])


def test_every_missing_file_is_told_at_once(good: Path, run: Callable) -> None:
    (good / "store").mkdir()
    for name in ("films.csv", "users.csv", "events.csv", "items.npy"):
        (good / name).unlink()
    (good / "users.npy").write_bytes(b"no matrix")
    shown = refuse(good, run, 65, [f"{good / 'films.csv'}: items.path: cannot be read: "])
    for name, key in (("users.csv", "users.path"), ("events.csv", "events.path"), ("items.npy", "spaces.taste.items")):
        assert f"{good / name}: {key}: cannot be read" in shown
    assert "spaces.taste.users: cannot be read" in shown


def test_missing_events_file_alone(good: Path, run: Callable) -> None:
    (good / "store").mkdir()
    (good / "events.csv").unlink()
    refuse(good, run, 65, ["events.csv: events.path: cannot be read: No such file or directory"])


def test_json_lines(good: Path, run: Callable) -> None:
    (good / "store").mkdir()
    spec = SPEC.replace("films.csv", "films.jsonl").replace('poster = "bytes"', 'poster = "text", missing = "f32"')
    (good / "spec.toml").write_text(spec)
    (good / "films.jsonl").write_text(
        '{"film": 7, "score": 1, "genres": ["a"], "poster": "x"}\n{"film": 8, "score": "1", "genres": 3}\n'
        '[1]\n{"film": -4, "year": 99999999999999999999, "seen": [1], "poster": 5}\n{"film": 1.5, "score"\n'
    )
    shown = refuse(good, run, 65, ["items.columns.score: wrong type: string in a column of numbers: row 2 ('1')"])
    assert "items.columns.genres: wrong type: number in a column of lists: row 2 (3)" in shown
    assert "not a JSON object: 2 rows, first at row 3" in shown
    assert "items.columns.year: " in shown and "row 4 ('99999999999999999999')" in shown
    assert "items.columns.seen: " in shown and "items.columns.poster: " in shown
    assert "row 4 (-4)" in shown
    assert "items.columns.missing: the file has no column 'missing'" in shown


def test_truncated_files(good: Path, run: Callable) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    (good / "store").mkdir()
    (good / "spec.toml").write_text(SPEC.replace("films.csv", "films.parquet").replace("users.csv", "users.csv.gz"))
    table = pa.table({"film": [7, 8, 9, 10], "score": [1.0] * 4, "year": [1] * 4, "seen": [True] * 4})
    table = table.append_column("genres", [["x"] * 4]).append_column("poster", [[b"1"] * 4])
    pa.parquet.write_table(table, good / "films.parquet")
    raw = (good / "films.parquet").read_bytes()
    (good / "films.parquet").write_bytes(raw[: len(raw) // 2])
    packed = gzip.compress("".join(f"{at}\n" for at in range(200_000)).encode())
    (good / "users.csv.gz").write_bytes(packed[: len(packed) // 4])
    refuse(good, run, 65, ["films.parquet: items.path: cannot be read", "users.csv.gz: users."])


@pytest.mark.parametrize(
    ("values", "needle"),
    [
        (np.ones((5, 2), dtype=np.float32), "items.npy: spaces.taste.items: has 5 rows, and there are 4"),
        (np.ones((4, 3), dtype=np.float32), "users.npy: spaces.taste.users: has 2 columns instead of 3"),
        (np.ones(8, dtype=np.float32), "must be a matrix"),
        (np.ones((4, 2), dtype=np.int64), "must be a matrix of float16, float32 or float64"),
        (np.array([[1, 2], [np.nan, 1], [1, 1], [np.inf, 1]]), "NaN or infinity: 2 rows, first at row 2; row 4"),
        (np.array([[1, 2], [1e300, 1], [1, 1], [1, 1]]), "NaN or infinity: row 2"),
        (np.ones((4, 0), dtype=np.float32), "must be a matrix"),
        (np.ones((4, 2, 2), dtype=np.float32), "must be a matrix"),
    ],
    ids=["height", "width", "flat", "whole", "nan", "range", "empty", "deep"],
)
def test_bad_matrix(good: Path, run: Callable, values: np.ndarray, needle: str) -> None:
    (good / "store").mkdir()
    np.save(good / "items.npy", values)
    refuse(good, run, 65, [needle])


@pytest.mark.parametrize(
    ("values", "needle"),
    [
        (np.ones((2, 3, 2), dtype=np.float32), "users.npy: spaces.taste.users: has 2 rows, and there are"),
        (np.ones((4, 3, 5), dtype=np.float32), "users.npy: spaces.taste.users: has 5 columns instead of 2"),
        (np.ones((4, 65, 2), dtype=np.float32), "1 to 64 vectors of each"),
        (np.ones((4, 0, 2), dtype=np.float32), "1 to 64 vectors of each"),
    ],
    ids=["height", "width", "many", "none"],
)
def test_bad_matrix_of_several_vectors(good: Path, run: Callable, values: np.ndarray, needle: str) -> None:
    (good / "store").mkdir()
    np.save(good / "users.npy", values)
    refuse(good, run, 65, [needle])


def test_pickled_matrix_is_not_read(good: Path, run: Callable) -> None:
    (good / "store").mkdir()
    np.save(good / "items.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
    refuse(good, run, 65, ["items.npy: spaces.taste.items: cannot be read"])


def test_too_many_actions(good: Path, run: Callable) -> None:
    (good / "store").mkdir()
    (good / "events.csv").write_text(EVENTS + "".join(f"1,7,1,action {at},1\n" for at in range(300)))
    refuse(good, run, 65, ["events.action: more than 256 different actions"])


def test_unknown_events_are_skipped_when_asked(good: Path, run: Callable) -> None:
    (good / "spec.toml").write_text(SPEC.replace('path = "events.csv"', 'path = "events.csv"\nunknown = "skip"'))
    (good / "events.csv").write_text(EVENTS + "1,77,1,view,1\n,7,1,view,1\n")
    code, shown = run("build", good / "spec.toml", "--out", good / "store", "--json")
    assert code == 0
    assert '"events":4,"skipped_events":2' in shown


SPECS: dict[str, tuple[str, str, list[str]]] = {
    "unknown-key": ('id = "film"', 'id = "film"\npaht = "x"', ["items.paht: unknown key (did you mean 'path'?)"]),
    "unknown-section": ("[spaces.taste]", "[space.taste]", ["space: unknown key (did you mean 'spaces'?)"]),
    "missing-key": ('id = "film"', "", ["items.id: is missing"]),
    "no-items": ("[items]", "[films]", ["items: is missing: every store has items"]),
    "kind": ('"f32"', '"f33"', ["items.columns.score: is 'f33' and must be one of f32, i64", "did you mean 'f32'?"]),
    "ending": ('"films.csv"', '"films.xlsx"', ["items.path: is 'films.xlsx', whose ending is none of .parquet"]),
    "reserved": ("score =", "popularity =", ["items.columns.popularity: this name is taken"]),
    "name": ("score =", '"a-b" =', ["items.columns.a-b: a name is ASCII letters"]),
    "range": ('time = "at"', 'time = "at"\nhistory_max = 0', ["events.history_max: is 0 and must be a whole number"]),
    "index": ('items = "items.npy"', 'items = "items.npy"\nindex = "ivfx"', ["spaces.taste.index: is 'ivfx'"]),
    "metric": ('items = "items.npy"', 'items = "items.npy"\nmetric = "cosin"', ["did you mean 'cosine'?"]),
    "both": ('items = "items.npy"', 'items = "items.npy"\nlearn = "als"\ndim = 2', ["not both"]),
    "toml": ("[users]", "[users", ["spec.toml: not TOML"]),
    "creator": ('id = "film"', 'id = "film"\ncreator = "scor"', ["items.creator: is 'scor'", "did you mean 'score'?"]),
    "creator-kind": ('id = "film"', 'id = "film"\ncreator = "score"', ["items.creator: names a column of kind f32"]),
    "creator-user": ("[users]", '[users]\ncreator = "x"', ["users.creator: unknown key"]),
    "type": ('path = "users.csv"', "path = 3", ["users.path: must be a path"]),
}


@pytest.mark.parametrize("name", SPECS)
def test_bad_specification(good: Path, run: Callable, name: str) -> None:
    (good / "store").mkdir()
    old, new, needles = SPECS[name]
    assert SPEC.count(old) >= 1
    (good / "spec.toml").write_text(SPEC.replace(old, new, 1))
    refuse(good, run, 78, ["spec.toml", *needles])


def test_all_faults_of_a_specification_at_once(good: Path, run: Callable) -> None:
    (good / "store").mkdir()
    (good / "spec.toml").write_text('[items]\npath = 1\nidd = "x"\n[spaces.a]\n[spaces.b]\nusers = "x.npy"\n[evnts]\n')
    shown = refuse(good, run, 78, ["6 faults in the specification"])
    for key in ("items.path", "items.idd", "items.id", "spaces.a", "spaces.b.users", "evnts"):
        assert f"  {key}: " in shown


def test_no_specification(good: Path, run: Callable) -> None:
    (good / "spec.toml").unlink()
    (good / "store").mkdir()
    refuse(good, run, 78, ["spec.toml: cannot be read: No such file or directory"])


def test_als_beyond_the_memory_limit(good: Path, run: Callable) -> None:
    (good / "store").mkdir()
    (good / "spec.toml").write_text(SPEC.replace('items = "items.npy"\nusers = "users.npy"', 'learn = "als"\ndim = 8'))
    shown = refuse(good, run, 78, ["spaces.taste: ALS needs ", "raise --memory"], "--memory", "512B")
    need = int(shown.split("ALS needs ")[1].split(" bytes")[0].replace(",", ""))
    refuse(good, run, 78, ["ALS needs"], "--memory", str(need - 1))
    code, shown = run("build", good / "spec.toml", "--out", good / "store", "--quiet", "--memory", str(need))
    assert (code, shown) == (0, "")


@pytest.mark.parametrize("value", ["much", "4.GiB", "4 parsecs"])
def test_bad_memory(good: Path, run: Callable, value: str) -> None:
    (good / "store").mkdir()
    refuse(good, run, 64, ["is no size"], f"--memory={value}")
