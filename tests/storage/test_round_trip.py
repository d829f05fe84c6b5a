"""What goes in through the files comes out through the epoch: every format, every kind of column, both kinds of id."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from build_case import FILM_KINDS, Table, build, films, write_films, write_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixline.storage.catalogue import NO_ROW
from mixline.storage.codes import decode
from mixline.storage.dump import dump
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadInput, UnknownId, UnknownName
from mixline.storage.store import Store

ENDINGS = [".parquet", ".csv", ".tsv", ".jsonl"]


def built(folder: Path, ending: str, **options: object) -> tuple[Path, Path]:
    spec = write_films(folder / "in", ending, **options)  # type: ignore[arg-type]
    build(spec, folder / "store")
    return spec, folder / "store"


def expected_of(ending: str, name: str, value: object) -> object:
    """What a value reads back as: CSV cannot tell an empty cell from a missing one."""
    if name == "poster" and value == b"" and ending in (".csv", ".tsv"):
        return None
    return value


@pytest.mark.parametrize("strings", [False, True], ids=["u64", "str"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_catalogue_reads_back(tmp_path: Path, ending: str, strings: bool) -> None:
    _, store = built(tmp_path, ending, strings=strings)
    table = films(strings)
    with Store(store).open() as epoch:
        items = epoch.items
        assert (items.count, items.id_kind) == (5, "str" if strings else "u64")
        assert [items.row_of(one) for one in table["film"]] == [0, 1, 2, 3, 4]
        assert list(items.ids_of(np.arange(5))) == table["film"]
        assert items.rows_of([*table["film"], "none" if strings else 99]).tolist() == [0, 1, 2, 3, 4, NO_ROW]
        with pytest.raises(UnknownId, match="no row has the id"):
            items.row_of("none" if strings else 99)
        for row in range(5):
            expected = {name: expected_of(ending, name, table[name][row]) for name in FILM_KINDS}
            assert items.record(row) == expected
        rows = np.array([4, 0, 1])
        fields = items.records(rows, list(FILM_KINDS))
        for name in FILM_KINDS:
            expected = [expected_of(ending, name, table[name][row]) for row in rows]
            if name == "genres":
                expected = [[] if one is None else one for one in expected]  # a column of tags has no "missing"
            assert fields[name] == expected
        with pytest.raises(UnknownName, match="no field 'titel'"):
            items.records(rows, ["titel"])
        assert epoch.users.records(np.arange(3), ["age"]) == {"age": [30, None, 50]}


@pytest.mark.parametrize("ending", ENDINGS)
def test_columns_are_typed_with_documented_sentinels(tmp_path: Path, ending: str) -> None:
    _, store = built(tmp_path, ending)
    with Store(store).open() as epoch:
        columns = epoch.items.columns
        assert {name: columns[name].kind for name in columns} == {
            **{name: kind for name, kind in FILM_KINDS.items() if kind not in ("text", "bytes")},
            "popularity": "f32",
        }
        assert columns["score"].values.dtype == np.float32
        assert math.isnan(columns["score"].values[1])
        assert columns["year"].values.tolist() == [1950, -5, -(1 << 63), (1 << 63) - 1, 1 - (1 << 63)]
        assert columns["seen"].values.tolist() == [1, 0, 255, 1, 0]
        country = columns["country"]
        assert [country.labels[code] if code != 0xFFFFFFFF else None for code in country.values.tolist()] == films()[
            "country"
        ]
        tags = columns["genres"]
        assert tags.offsets is not None
        assert tags.offsets.tolist() == [0, 2, 3, 3, 4, 6]
        assert [tags.labels[code] for code in tags.values] == ["drama", "war", "war", "comedy", "drama", "drama"]
        for name in columns:
            assert not columns[name].values.flags.writeable


def test_formats_and_strings_give_the_same_epoch(tmp_path: Path) -> None:
    dumps = []
    for ending in ENDINGS:
        _, store = built(tmp_path / ending[1:], ending)
        with Store(store).open() as epoch:
            lines = [line for line in dump(epoch) if not line.startswith(b'{"manifest"')]
        dumps.append(b"".join(lines).replace(b'"poster":null', b'"poster":""'))
    assert dumps[1:] == dumps[:1] * (len(ENDINGS) - 1)


def test_spaces_are_float32_with_norms(tmp_path: Path) -> None:
    spec, store = built(tmp_path, ".csv")
    given_items = np.load(spec.parent / "items.npy")
    with Store(store).open() as epoch:
        taste, half = epoch.spaces["taste"], epoch.spaces["half"]
        assert (taste.metric, taste.dim, taste.index, half.metric) == ("cosine", 3, "exact", "dot")
        assert taste.items is not None and taste.users is not None
        assert taste.items.dtype == np.float32 and taste.items.flags.c_contiguous and not taste.items.flags.writeable
        np.testing.assert_array_equal(taste.items, given_items.astype(np.float32))
        np.testing.assert_array_equal(taste.users, np.load(spec.parent / "users.npy").astype(np.float32))
        np.testing.assert_allclose(taste.item_norms, np.linalg.norm(taste.items.astype(np.float64), axis=1), rtol=1e-7)
        assert half.users is None and half.user_norms is None
        assert taste.item_codes is not None and half.item_codes is not None
        np.testing.assert_allclose(decode(half.item_codes, 5, half.dim), half.items, atol=0.02)
        directions = taste.items / taste.item_norms[:, None]
        np.testing.assert_allclose(decode(taste.item_codes, 5, 3), directions, atol=0.005)


def events_of(table: Table) -> dict[object, list[tuple]]:
    """By user, newest first; of two at the same time the later in the file first."""
    found: dict[object, list[tuple]] = defaultdict(list)
    for at, (who, film, when, what, stars) in enumerate(zip(*table.values(), strict=True)):
        found[who].append((when, at, film, what, stars))
    return {who: sorted(events, key=lambda one: (-one[0], -one[1])) for who, events in found.items()}


def check_events(epoch: Epoch, table: Table, history_max: int, half_life_days: float, baskets_max: int) -> None:
    """Histories, seen sets, popularity and neighbours against the obvious computation."""
    by_user = events_of(table)
    items, actions = epoch.items, epoch.manifest.events.actions  # type: ignore[union-attr]
    popularity: dict[object, float] = defaultdict(float)
    together: dict[tuple, int] = defaultdict(int)
    newest = max(table["at"], default=0)
    for row in range(epoch.users.count):
        events = by_user.get(epoch.users.id_of(row), [])
        history = epoch.history(row)
        shown = [
            (int(time), items.id_of(int(item)), actions[int(action)])
            for item, time, action in zip(*history, strict=True)
        ]
        assert shown == [(when, film, what) for when, _, film, what, _ in events[:history_max]]
        seen = epoch.seen(row)
        assert seen.dtype == np.uint32
        assert seen.tolist() == sorted({items.row_of(one[2]) for one in events})
        for when, _, film, _, stars in events:
            popularity[film] += stars * 2 ** ((when - newest) / (half_life_days * 86400))
        basket = list(dict.fromkeys(one[2] for one in events))[:baskets_max]
        for one in basket:
            for other in basket:
                together[one, other] += 1
    column = epoch.items.columns["popularity"].values
    for row in range(items.count):
        assert column[row] == pytest.approx(popularity[items.id_of(row)], rel=1e-5, abs=1e-30)
    popular = epoch.popularity
    order = [(-float(score), int(items.keys[row])) for row, score in zip(*popular, strict=True)]
    assert order == sorted(order)
    assert set(popular.rows.tolist()) == set(np.flatnonzero(column > 0).tolist())
    graph = epoch.neighbours
    assert graph is not None
    for row in range(items.count):
        part = slice(int(graph.indptr[row]), int(graph.indptr[row + 1]))
        found = {
            items.id_of(int(one)): float(weight)
            for one, weight in zip(graph.indices[part], graph.weights[part], strict=True)
        }
        me = items.id_of(row)
        expected = {
            other: count / math.sqrt(together[me, me] * together[other, other])
            for (one, other), count in together.items()
            if one == me and other != me
        }
        assert found == pytest.approx(expected, rel=1e-6)
        ranks = [
            (-weight, int(items.keys[one]))
            for one, weight in zip(graph.indices[part], graph.weights[part].tolist(), strict=True)
        ]
        assert ranks == sorted(ranks)


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
VALUES: dict[str, st.SearchStrategy] = {
    "f32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "i64": st.integers(1 - (1 << 63), (1 << 63) - 1),
    "bool": st.booleans(),
    "category": WORDS,
    "tags": st.lists(WORDS, max_size=3),
    "text": st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    "bytes": st.binary(max_size=20),
}


@st.composite
def worlds(draw: st.DrawFn) -> dict:
    """A catalogue of 1 to 12 items with some columns, and events of 1 to 40 rows."""
    strings = draw(st.booleans())
    ids = (
        st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
        if strings
        else st.integers(0, (1 << 64) - 1)
    )
    films_ = draw(st.lists(ids, min_size=1, max_size=12, unique=True))
    users = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    count = draw(st.integers(1, 40))
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), max_size=4))
    columns = {f"c{9 - at}": kind for at, kind in enumerate(kinds)}
    size = len(films_)
    table: Table = {"film": films_}
    for name, kind in columns.items():
        table[name] = draw(st.lists(st.none() | VALUES[kind], min_size=size, max_size=size))
    events: Table = {
        "who": draw(st.lists(st.sampled_from(users), min_size=count, max_size=count)),
        "film": draw(st.lists(st.sampled_from(films_), min_size=count, max_size=count)),
        "at": draw(st.lists(st.integers(0, 40 * 86400), min_size=count, max_size=count)),
        "what": draw(st.lists(st.sampled_from(["a", "b"]), min_size=count, max_size=count)),
        "stars": draw(st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=count, max_size=count)),
    }
    return {
        "strings": strings,
        "columns": columns,
        "items": table,
        "users": users,
        "events": events,
        "history_max": draw(st.integers(1, 6)),
        "baskets_max": draw(st.integers(2, 6)),
        "ending": draw(st.sampled_from([".parquet", ".jsonl"])),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(worlds())
def test_any_world_round_trips(tmp_path_factory: pytest.TempPathFactory, world: dict) -> None:
    folder = tmp_path_factory.mktemp("world")
    ending = world["ending"]
    write_table(folder / f"items{ending}", world["items"], world["columns"])
    write_table(folder / f"events{ending}", world["events"])
    columns = ", ".join(f'{name} = "{kind}"' for name, kind in world["columns"].items())
    spec = folder / "spec.toml"
    spec.write_text(
        f"""
[items]
path = "items{ending}"
id = "film"
columns = {{ {columns} }}
[events]
path = "events{ending}"
user = "who"
item = "film"
time = "at"
action = "what"
weight = "stars"
half_life_days = 10
history_max = {world["history_max"]}
neighbours_history = {world["baskets_max"]}
"""
    )
    build(spec, folder / "store")
    with Store(folder / "store").open() as epoch:
        assert list(epoch.items.ids_of(np.arange(epoch.items.count))) == world["items"]["film"]
        rows = epoch.items.rows_of(world["items"]["film"])
        assert rows.tolist() == list(range(epoch.items.count))
        for row in range(epoch.items.count):
            record = epoch.items.record(row)
            for name, kind in world["columns"].items():
                value = world["items"][name][row]
                assert record[name] == value, (name, kind)
        used = set(world["events"]["who"])
        assert {epoch.users.id_of(row) for row in range(epoch.users.count)} == used
        check_events(epoch, world["events"], world["history_max"], 10, world["baskets_max"])


@pytest.mark.parametrize("order", ["C", "F"])
def test_several_vectors_of_a_user_are_rows_that_follow_one_another(tmp_path: Path, order: str) -> None:
    write_table(tmp_path / "items.csv", {"item": [1, 2]})
    write_table(tmp_path / "users.csv", {"user": [1, 2, 3]})
    users = np.arange(24, dtype=np.float64).reshape(3, 2, 4)
    np.save(tmp_path / "users.npy", np.asarray(users, order=order))  # type: ignore[call-overload]
    np.save(tmp_path / "items.npy", np.ones((2, 4)))
    lines = [f'[{side}]\npath = "{side}.csv"\nid = "{side[:-1]}"\n' for side in ("items", "users")]
    space = '[spaces.one]\nitems = "items.npy"\nusers = "users.npy"\n'
    (tmp_path / "spec.toml").write_text("".join(lines) + space)
    build(tmp_path / "spec.toml", tmp_path / "store")
    with Store(tmp_path / "store").open() as epoch:
        found = epoch.spaces["one"]
        assert (found.vectors, found.dim, found.users.tolist()) == (2, 4, users.reshape(6, 4).tolist())
        assert found.user_norms is not None and len(found.user_norms) == 6
    users[1, 1, 0] = np.nan
    np.save(tmp_path / "users.npy", users)
    with pytest.raises(BadInput, match="NaN or infinity: row 2"):
        build(tmp_path / "spec.toml", tmp_path / "store")
