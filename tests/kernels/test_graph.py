"""Proximity graphs: the walk against its twin, every row reached, the same graph from any number of threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import each_path
from rows import norms_of, words_of

from mixline.kernels import graph_build, graph_search, reference, reference_graph
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.graph_build import link, shuffled
from mixline.kernels.graph_search import GraphSearch
from mixline.kernels.scan import METRICS, scan_listed
from mixline.kernels.topk import TopK
from mixline.storage.frames import PLAIN, Frame, signs_for
from mixline.storage.graph_index import Graph, chunks, encode_rows, find_center, link_factors

SHAPES = ["plain", "few", "equal", "long and short", "sparse", "clustered", "extreme"]

simd = each_path(graph_build, graph_search)


def choose(name):
    graph_build.choose_path(name)
    graph_search.choose_path(name)


def make(shape, n, dim, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n, dim)).astype(np.float32)
    if shape == "few":
        matrix = np.sign(matrix) * (rng.random((n, dim)) < 2 / dim).astype(np.float32)
    elif shape == "equal":
        matrix[:] = matrix[:1]
    elif shape == "long and short":
        matrix *= np.exp(3 * rng.standard_normal((n, 1))).astype(np.float32)
    elif shape == "sparse":
        matrix *= rng.random((n, dim)) < 0.1
    elif shape == "clustered":
        matrix = (50 * matrix[rng.integers(0, 1 + n // 50, n)] + matrix).astype(np.float32)
    elif shape == "extreme":
        matrix = np.nan_to_num(matrix * rng.choice([1e-44, 1e-19, 1.0, 1e19, 3e38], (n, 1)), posinf=3e38, neginf=-3e38)
        matrix = matrix.clip(-3e38, 3e38).astype(np.float32)
    return matrix


def graph_of(matrix, metric, degree=8, signs=PLAIN.signs, **options):
    center = find_center(matrix, metric)
    exact = np.concatenate([matrix[:0].astype(float), *chunks(matrix, metric)])
    codes, scales, squared = encode_rows(exact, center, Frame(PLAIN.center, signs))
    bias = squared / -2.0 if metric == "l2" else np.zeros(len(matrix))
    neighbours, entries = link(codes, link_factors(scales, squared, metric), degree, **options)
    return Graph(neighbours, codes, np.stack([scales, bias], axis=1).astype(np.float32), entries, center, signs)


@st.composite
def problems(draw):
    """A matrix of any kind, its metric, its graph and a query."""
    n, dim = draw(st.integers(1, 400)), draw(st.integers(1, 70))
    matrix = make(draw(st.sampled_from(SHAPES)), n, dim, draw(st.integers(0, 2**32)))
    metric = draw(st.sampled_from(sorted(METRICS)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    query = rng.standard_normal(dim) * draw(st.sampled_from([1.0, 1.0, 0.0, 1e-44, 1e19, 1e37]))
    signs = draw(st.sampled_from([PLAIN.signs, signs_for(dim)]))
    graph = graph_of(matrix, metric, draw(st.integers(2, 16)), signs, slack=draw(st.integers(0, 8)))
    return matrix, metric, graph, query.astype(np.float32)


def reached(graph):
    seen, left = set(graph.entries.tolist()), graph.entries.tolist()
    while left:
        new = set(graph.neighbours[left.pop()].tolist()) - seen
        seen |= new
        left += new
    return seen


@given(problem=problems(), data=st.data())
@settings(deadline=None, max_examples=80)
@pytest.mark.usefixtures("simd")
def test_a_walk_does_what_its_twin_does(problem, data):
    matrix, metric, graph, query = problem
    width = data.draw(st.integers(1, len(matrix) + 3))
    share = data.draw(st.sampled_from([None, 0.0, 0.05, 0.5, 1.0]))
    mask = None if share is None else np.random.default_rng(1).random(len(matrix)) < share
    searcher = GraphSearch(*graph, metric=metric)
    rows = searcher.search(query, width, len(matrix), allowed=None if mask is None else words_of(mask))
    wanted, hops = reference_graph.walk(*graph, metric, query, width, mask)
    assert np.array_equal(rows, wanted) and searcher.hops == hops
    assert mask is None or mask[rows].all()


@given(problem=problems(), data=st.data())
@settings(deadline=None, max_examples=60)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_the_widest_walk_finds_all(problem, data):
    matrix, metric, graph, query = problem
    assert reached(graph) == set(range(len(matrix)))
    k = data.draw(st.integers(1, len(matrix)))
    keys, norms = np.arange(len(matrix), dtype=np.uint64), norms_of(matrix)
    rows = GraphSearch(*graph, metric=metric).search(query, len(matrix), len(matrix))
    assert sorted(rows.tolist()) == list(range(len(matrix)))
    best = TopK(k)
    scan_listed(matrix, query, best, keys, rows, metric=metric, norms=norms)
    assert np.array_equal(best.result()[0], reference.scan(matrix, query, k, keys, metric, norms)[0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", SHAPES)
def test_threads_agnosticism(shape, metric):
    matrix = make(shape, 3000, 17, 5)
    one, other = graph_of(matrix, metric, threads=1), graph_of(matrix, metric, threads=3)
    assert np.array_equal(one.neighbours, other.neighbours) and np.array_equal(one.entries, other.entries)
    assert reached(one) == set(range(len(matrix)))


@pytest.mark.usefixtures("simd")
def test_every_path_makes_the_same_graph():
    matrix = make("clustered", 2000, 45, 6)
    here = graph_of(matrix, "l2")
    choose("portable")
    assert np.array_equal(here.neighbours, graph_of(matrix, "l2").neighbours)


@pytest.mark.parametrize("dim", [1, 2, 31, 33, 127, 784, 2048])
@pytest.mark.parametrize("metric", METRICS)
def test_dimensions(dim, metric):
    matrix = make("plain", 300, dim, dim)
    graph = graph_of(matrix, metric, 16)
    query = make("plain", 1, dim, dim + 1)[0]
    rows = GraphSearch(*graph, metric=metric).search(query, 300, 20)
    wanted = reference.scan(matrix, query, 10, np.arange(300, dtype=np.uint64), metric, norms_of(matrix))[0]
    assert set(wanted.tolist()) <= set(rows.tolist())


@pytest.mark.parametrize("metric", METRICS)
def test_most_of_the_best_are_found_by_a_narrow_walk(metric):
    matrix = make("plain", 20_000, 16, 7)
    graph = graph_of(matrix, metric, 32)
    searcher, keys, norms = GraphSearch(*graph, metric=metric), np.arange(20_000, dtype=np.uint64), norms_of(matrix)
    found = scored = 0
    for query in make("plain", 30, 16, 8):
        wanted = reference.scan(matrix, query, 50, keys, metric, norms)[0]
        found += len(np.intersect1d(searcher.search(query, 150, 75), wanted))
        scored += searcher.scored
    assert found >= 0.96 * 30 * 50 and scored < 30 * 6000


def test_rows_that_a_walk_passes_by_among_many_as_near_are_no_entries():
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((20, 16))[rng.integers(0, 20, 6000)] + 1e-3 * rng.standard_normal((6000, 16))
    graph = graph_of(matrix.astype(np.float32), "l2", 16)
    assert len(graph.entries) == int(6000**0.5) and reached(graph) == set(range(6000))


def test_a_search_can_be_interrupted_and_used_again():
    matrix = make("plain", 5000, 24, 9)
    graph = graph_of(matrix, "dot")
    searcher, query = GraphSearch(*graph), matrix[17]
    whole = searcher.search(query, 100, 100)
    hops = searcher.hops
    searcher.search(matrix[5], 300, 10)
    searcher.start(query, 100)
    calls = 1
    while not searcher.run(7):
        assert searcher.hops == 7 * calls and len(searcher.rows(10)) == 10
        calls += 1
    assert searcher.hops == hops and np.array_equal(searcher.rows(100), whole)
    assert searcher.run(1) and len(searcher.rows(0)) == len(searcher.rows(-1)) == 0


def test_no_rows():
    graph = graph_of(np.empty((0, 3), dtype=np.float32), "l2")
    searcher = GraphSearch(*graph, metric="l2")
    assert len(searcher.search(np.ones(3, dtype=np.float32), 10, 10)) == 0


def test_neighbours_outside_are_not_followed():
    graph = graph_of(make("plain", 50, 3, 1), "dot")
    neighbours = graph.neighbours.copy()
    neighbours[:, 0] = 0xFFFFFFF0
    rows = GraphSearch(neighbours, *graph[1:]).search(np.ones(3, dtype=np.float32), 50, 50)
    assert len(rows) and rows.max() < 50


def test_insertion_order_is_a_permutation():
    order = shuffled(1000)
    assert sorted(order.tolist()) == list(range(1000)) and abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.2


def test_refusals():
    graph = graph_of(make("plain", 50, 3, 1), "dot")
    searcher, query = GraphSearch(*graph), np.ones(3, dtype=np.float32)
    for wrong in (
        lambda: GraphSearch(*graph, metric="hamming"),
        lambda: GraphSearch(graph.neighbours[:40], *graph[1:]),
        lambda: GraphSearch(*graph[:2], graph.factors[:40], *graph[3:]),
        lambda: GraphSearch(*graph[:4], np.ones(40, dtype=np.float32)),
        lambda: GraphSearch(*graph[:5], np.ones((1, 2), dtype=np.int8)),
        lambda: searcher.search(query[:2], 10, 10),
        lambda: searcher.search(query, 0, 10),
        lambda: searcher.search(query, 10, 10, allowed=np.empty(0, dtype=np.uint64)),
        lambda: link(graph.codes, np.zeros((50, 3), dtype=np.float32), 8),
        lambda: link(graph.codes[:, :30].copy(), np.zeros((50, 4), dtype=np.float32), 8),
        lambda: link(graph.codes, np.zeros((50, 4), dtype=np.float32), 1),
        lambda: link(graph.codes, np.zeros((50, 4), dtype=np.float32), 120, slack=16),
    ):
        with pytest.raises(KernelArgumentError):
            wrong()
