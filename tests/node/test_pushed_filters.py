"""Filters inside the sources: what they would drop is not retrieved, whichever source, and their verdict stays."""

import numpy as np
import pytest
from film_store import ITEMS, USERS, node_with

from mixline.node import admitted_rows
from mixline.node.admitted_rows import ItemRange
from mixline.node.errors import BadRequest
from mixline.node.predicate import compile_predicate
from mixline.node.request import Ask
from mixline.storage.store import Store

SURFACE = """
{source}
[[filter]]
kind = "predicate"
where = '{where}'
{rest}
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "{name}.score" = 1.0 }}
[[selector]]
kind = "topk"
by = "final"
"""
SOURCES = {
    "nearest": 'kind = "nearest"\nspace = "taste"\nlimit = {n}',
    "popular": 'kind = "popular"\nlimit = {n}',
    "item_to_item": 'kind = "item_to_item"\nquery = "recent"\nlimit = {n}',
}
PREDICATES = [
    "year > 1990",
    "not missing(price) and price < 10",
    '"War" in genres and not ("Drama" in genres)',
    'studio in ["north", "west"] or colour',
    "price * 2 < year - 1930",
    "1 < 2",
    "year > 5000",
]


@pytest.fixture(scope="module")
def epoch(film_store):
    with Store(film_store).open() as opened:
        yield opened


@pytest.fixture
def node(film_store, tmp_path):
    """Opens a node with one surface of one source, and closes it."""
    opened = []

    def make(kind="nearest", where="year > 1990", n=30, rest=""):
        source = f"[[source]]\n{SOURCES[kind].format(n=n)}"
        text = SURFACE.format(source=source, where=where, rest=rest, name=kind)
        opened.append(node_with(film_store, tmp_path, one=text))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def kept_by(epoch, where, params=None):
    """The twin: the predicate asked of all items at once, as bits."""
    some = ItemRange(epoch, params or {}, 0, ITEMS)
    return compile_predicate(where).holds(some)


def ends(page, stage):
    return [entry for entry in page.coverage if entry.stage == stage]


@pytest.mark.parametrize("where", PREDICATES)
@pytest.mark.parametrize("chunk", [64, 1 << 16])
def test_the_bitmap_is_the_predicate(epoch, where, chunk, monkeypatch):
    monkeypatch.setattr(admitted_rows, "CHUNK", chunk)
    words = admitted_rows.AdmittedRows(compile_predicate(where)).bitmap(epoch, Ask(), epoch.items.count)
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")
    assert len(words) == -(-ITEMS // 64) and not bits[ITEMS:].any()
    assert np.array_equal(bits[:ITEMS].astype(bool), kept_by(epoch, where))


@pytest.mark.parametrize("where", PREDICATES)
@pytest.mark.parametrize("kind", SOURCES)
def test_no_source_brings_what_the_predicate_drops(node, epoch, kind, where):
    serving, keeps = node(kind, where, n=ITEMS), kept_by(epoch, where)
    bare = node(kind, "1 < 2", n=ITEMS)
    for user in range(0, USERS, 7):
        page, every = serving.ask("one", user=user, limit=ITEMS), bare.ask("one", user=user, limit=ITEMS)
        rows = epoch.items.rows_of(every.ids)
        assert page.ids.tolist() == every.ids[keeps[rows]].tolist()
        [source], [sieve] = ends(page, "source"), ends(page, "filter")
        assert sieve.how == "inside the sources" and sieve.left == 0 and sieve.taken == source.taken == len(page)


def test_limits_count_what_is_kept(node, epoch):
    page = node(where="year > 1990", n=20).ask("one", user=3)
    assert len(page) == 20 and ends(page, "source")[0].taken == 20


def test_seen_and_predicate_together(node, epoch):
    page = node(rest='[[filter]]\nkind = "seen"\n', n=ITEMS).ask("one", user=3, limit=ITEMS)
    wanted = kept_by(epoch, "year > 1990")
    wanted[epoch.seen(3)] = False
    assert sorted(epoch.items.rows_of(page.ids)) == np.flatnonzero(wanted).tolist()
    assert [entry.how for entry in ends(page, "filter")] == ["inside the sources"] * 2
    assert [entry.left for entry in ends(page, "filter")] == [0, 0]


def test_parameters_of_a_request_are_pushed_and_kept(node, epoch):
    serving = node(where="year > params.after")
    step = serving.engine.pipelines["one"].admitters[0]
    for after in (1950, 1980, 1950, 2010):
        page = serving.ask("one", user=2, params={"after": after}, limit=30)
        keeps = kept_by(epoch, "year > params.after", {"after": after})
        assert keeps[epoch.items.rows_of(page.ids)].all() and len(page) == min(30, int(keeps.sum()))
    assert len(step.bound._kept) == 3
    for after in range(100):
        serving.ask("one", user=2, params={"after": after})
    assert len(step.bound._kept) == admitted_rows.KEPT
    with pytest.raises(BadRequest, match="after"):
        serving.ask("one", user=2)


def test_parameters_in_a_large_store_are_left_to_the_filter(node, epoch, monkeypatch):
    monkeypatch.setattr(admitted_rows, "PARAMETERS_ROWS", ITEMS - 1)
    page = node(where="year > params.after", n=ITEMS).ask("one", user=2, params={"after": 1990}, limit=ITEMS)
    keeps = kept_by(epoch, "year > 1990")
    assert len(page) == keeps.sum() and ends(page, "filter")[0].left == ITEMS - keeps.sum()


def test_what_reads_scores_or_replaced_columns_is_left_to_the_filter(node, epoch):
    scored = node(where="nearest.score > 0.5", n=ITEMS).ask("one", user=2)
    assert ends(scored, "filter")[0].how == "" and ends(scored, "filter")[0].left > 0
    odd = node(where="price > 20", rest='[[hydrator]]\nkind = "odd_components.PriceHydrator"\n', n=ITEMS)
    page = odd.ask("one", user=2, limit=ITEMS)
    assert ends(page, "filter")[0].how == "" and len(page) == ITEMS // 2
    plain = node(where="price > 20", rest='[[hydrator]]\nkind = "columns"\ncolumns = ["price"]\n')
    assert ends(plain.ask("one", user=2), "filter")[0].how == "inside the sources"


def test_a_bitmap_is_made_once_for_all_surfaces_of_an_epoch(film_store, tmp_path):
    text = SURFACE.format(
        source=f"[[source]]\n{SOURCES['popular'].format(n=9)}", where="1 < 2", rest="", name="popular"
    )
    serving = node_with(film_store, tmp_path, one=text, two=text)
    first, second = (serving.engine.pipelines[name].admitters[0].bound for name in ("one", "two"))
    assert first is second
    serving.close()


def test_given_candidates_are_told_why_they_were_dropped_unless_there_are_too_many(film_store, tmp_path, epoch):
    text = SURFACE.format(source='[[source]]\nkind = "given"\nlimit = 50', where="year > 1990", rest="", name="given")
    serving, keeps = node_with(film_store, tmp_path, one=text), kept_by(epoch, "year > 1990")
    ids = epoch.items.ids_of(np.arange(ITEMS, dtype=np.uint32))
    few = serving.ask("one", candidates=ids[:50], limit=50)
    assert ends(few, "filter")[0].left == 50 - keeps[:50].sum() and len(few) == keeps[:50].sum()
    many = serving.ask("one", candidates=ids, limit=50)
    assert many.ids.tolist() == ids[keeps][:50].tolist() and ends(many, "filter")[0].left == 0
    serving.close()
