"""Searches of postings against scoring every row: by every path, with filters, demands, phrases and in slices."""

import time

import numpy as np
import pytest
from paths import each_path
from text_case import Case, texts

from mixline.kernels import postings
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.maxscore import KINDS, WINDOW, Search
from mixline.kernels.reference_postings import best_rows, read_list, worths

simd = each_path(postings)
COUNT = 30_000


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    rng = np.random.default_rng(1)
    return Case(tmp_path_factory.mktemp("one"), {"title": texts(rng, COUNT, 400, 12)})


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    rng = np.random.default_rng(2)
    columns = {"title": texts(rng, COUNT, 300, 5), "plot": texts(rng, COUNT, 300, 30)}
    return Case(tmp_path_factory.mktemp("two"), columns)


@pytest.fixture(scope="module")
def known():
    """What scoring every row found: the instruction paths are asked the same."""
    return {}


def expected(case, lists, kinds, k, allowed=None):
    index = case.index
    sums, groups = np.zeros(case.count, np.int64), np.zeros((len(kinds), case.count), bool)
    for start, count, _, weight, view, group in lists:
        rows, times = read_list(index.lists, start, count, len(index.names), any(index.stored))
        found = worths(rows, times, index.lengths, case.views[view], weight, index.facts.k1)
        if kinds[group] in (0, 1):
            sums[rows] += found
        groups[group, rows] |= worths(rows, times, index.lengths, case.views[view], 1.0, index.facts.k1) > 0
    return best_rows(sums, groups, kinds, case.keys, allowed, k)


def bitmap(rng, count, share):
    bits = np.zeros(-(-count // 64) * 64, bool)
    bits[:count] = rng.random(count) < share
    return np.packbits(bits, bitorder="little").view(np.uint64)


@pytest.mark.parametrize("name", ["one", "two"])
def test_lists_hold_what_the_texts_say(request, name):
    case = request.getfixturevalue(name)
    words = [[text.split() for text in column] for column in case.columns.values()]
    for word in ("w0", "w7", "w90", "w299"):
        ((start, count, *_),) = case.lists([word])
        rows, times = read_list(case.index.lists, start, count, len(words), True)
        counts = np.array([[one.count(word) for one in column] for column in words])
        assert (rows == np.flatnonzero(counts.any(axis=0))).all()
        assert (times == counts[:, rows]).all()


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_best_are_those_of_scoring_every_row(simd, request, known, name):
    case = request.getfixturevalue(name)
    rng = np.random.default_rng(3)
    for turn in range(120):
        words = [f"w{at}" for at in np.unique((300 * rng.random(rng.integers(1, 7)) ** 3).astype(int))]
        kinds = [int(rng.choice(4, p=[0.6, 0.2, 0.1, 0.1])) if turn % 2 else 0 for _ in words]
        allowed = bitmap(rng, COUNT, rng.choice([0.001, 0.1, 0.9])) if turn % 3 == 0 else None
        lists = case.lists(words, [int(rng.integers(2)) for _ in words])
        k = int(rng.choice([1, 10, 100, 3000]))
        search = Search(case.postings, k, lists, case.views, kinds, allowed=allowed)
        while search.advance(int(rng.integers(1, 5))):
            pass
        rows, scores = search.result()
        asked = name, turn, *words, *kinds, k
        if asked not in known:
            known[asked] = expected(case, lists, kinds, k, allowed)
        wanted = known[asked]
        assert (rows == wanted[0]).all() and scores.tobytes() == wanted[1].tobytes(), (words, kinds, k)


def test_rows_beyond_reach_are_not_looked_at(one):
    lists = one.lists(["w0", "w250"])
    search = Search(one.postings, 10, lists, one.views, [0, 0])
    search.advance()
    assert search.valued < lists[0][1] / 2


@pytest.mark.parametrize("slop", [0, 2])
def test_phrases_stand_in_the_texts(two, slop):
    words = ["w1", "w3", "w2"]
    lists = two.lists(words)
    for unwanted in (False, True):
        kinds = [KINDS["part" if unwanted else "must"]] * 3 + [0]
        more = [*lists, (*two.lists(["w0"])[0][:5], 3)]
        phrase = (unwanted, slop, [[(0, 0), (1, 1), (2, 2)]])
        search = Search(two.postings, COUNT, more, two.views, kinds, [phrase])
        search.advance()
        found = set(search.result()[0].tolist())
        holding = {row for row in range(COUNT) if any(holds(c[row].split(), words, slop) for c in two.columns.values())}
        base = {row for row in range(COUNT) if any("w0" in c[row].split() for c in two.columns.values())}
        assert found == (base - holding if unwanted else holding) and found


def holds(text, words, slop):
    places = [[at - i for at, one in enumerate(text) if one == word] for i, word in enumerate(words)]
    return any(max(a, b, c) - min(a, b, c) <= slop for a in places[0] for b in places[1] for c in places[2])


def test_marks_and_worths(two):
    lists = two.lists(["w5", "w40"], [1, 0])
    words = two.postings.rows_with(lists, two.views)
    rows = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")).astype(np.uint32)
    found, scores = expected(two, lists, [0, 0], COUNT)
    assert (np.sort(found) == rows).all()
    order = np.argsort(found)
    assert (two.postings.worth(lists, two.views, found[order]) == scores[order]).all()


@pytest.mark.parametrize("slop", [0, 3])
def test_all_that_match_are_marked(two, slop):
    rng = np.random.default_rng(5)
    for kinds in ([KINDS["must"]] * 3 + [0], [KINDS["part"]] * 3 + [0], [0, KINDS["must"], KINDS["not"], 0]):
        lists = two.lists(["w1", "w3", "w2", "w0"])
        phrases = [] if KINDS["not"] in kinds else [(KINDS["part"] in kinds, slop, [[(0, 0), (1, 1)]])]
        allowed = bitmap(rng, COUNT, 0.7)
        marks = np.zeros(-(-COUNT // 64), np.uint64)
        ranked = Search(two.postings, COUNT, lists, two.views, kinds, phrases, allowed)
        marked = Search(two.postings, 1, lists, two.views, kinds, phrases, allowed, marks=marks)
        for search in (ranked, marked):
            while search.advance(2):
                pass
        rows = np.flatnonzero(np.unpackbits(marks.view(np.uint8), bitorder="little"))
        assert (rows == np.sort(ranked.result()[0])).all() and len(rows) > 100
        assert not len(marked.result()[0])


def test_a_search_ends_when_its_time_is_over(two):
    words = [f"w{at}" for at in range(30)]
    lists, now = two.lists(words), time.monotonic_ns()
    whole = Search(two.postings, 10, lists, two.views, [0] * len(lists))
    assert not whole.advance(until_ns=now + 10**12)
    over = Search(two.postings, 10, lists, two.views, [0] * len(lists))
    assert over.advance(until_ns=now) and over.next == 0 and not len(over.result()[0])
    marks = np.zeros(-(-COUNT // 64), np.uint64)
    assert two.postings.mark(marks, lists, two.views, now) == 0 and not marks.any()
    assert two.postings.mark(marks, lists, two.views, now + 10**12) == len(lists)
    assert (marks == two.postings.rows_with(lists, two.views)).all()


def test_what_a_search_has_when_it_is_cut_short_is_right(two):
    lists = two.lists([f"w{at}" for at in range(40)])
    scored = expected(two, lists, [0] * len(lists), COUNT)
    scores, cut = dict(zip(scored[0].tolist(), scored[1].tolist(), strict=True)), 0
    for us in [*range(0, 2000, 25)]:
        search = Search(two.postings, 20, lists, two.views, [0] * len(lists))
        if search.advance(until_ns=time.monotonic_ns() + 1000 * us):
            cut += 1
            assert search.next % WINDOW == 0
        rows, found = search.result()
        assert all(scores[row] == score for row, score in zip(rows.tolist(), found.tolist(), strict=True))
        if not search.advance():  # it was cut between two windows, or not at all
            assert (search.result()[0] == scored[0][:20]).all()
    assert cut


def test_the_door_refuses(one):
    lists = one.lists(["w0"])
    with pytest.raises(KernelArgumentError):
        Search(one.postings, 0, lists, one.views, [0])
    with pytest.raises(KernelArgumentError):
        Search(one.postings, 1, lists, one.views, [0], allowed=np.zeros(3, np.uint64))
    with pytest.raises(KernelArgumentError):
        Search(one.postings, 1, [(1 << 40, 5, 0, 1.0, 0, 0)], one.views, [0])
    with pytest.raises(KernelArgumentError):
        Search(one.postings, 1, lists, one.views, [0], marks=np.zeros(3, np.uint64))
    with pytest.raises(KernelArgumentError):
        one.postings.mark(np.zeros(3, np.uint64), lists, one.views)
    with pytest.raises(KernelArgumentError):
        one.postings.worth(lists, one.views, np.array([4, 4], np.uint32))
