"""Every retrieved candidate ends in exactly one of served, reserve, dropped(reason): over random surfaces."""

import time

import numpy as np
from film_store import node_with
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixline.kernels.accumulate import Scratch
from mixline.node.block import DROPPED, RESERVE, SERVED, Candidates, merge
from mixline.node.call import Call
from mixline.node.engine import Running
from mixline.node.explain import fates
from mixline.node.inprocess import never
from mixline.node.request import Ask
from mixline.node.scans import run_alone

SOURCES = (
    'kind = "nearest"\nspace = "taste"\nlimit = {n}',
    'kind = "nearest"\nspace = "look"\nquery = "recent"\nlimit = {n}',
    'kind = "popular"\nlimit = {n}',
    'kind = "item_to_item"\nquery = "recent"\nlimit = {n}',
    'kind = "walk"\nquery = "recent"\nsteps = 500\nlimit = {n}',
)
FILTERS = (
    'kind = "seen"',
    'kind = "duplicate"\nby = "price"',
    'kind = "predicate"\nwhere = "year > 1970"',
    'kind = "predicate"\nwhere = \'not ("War" in genres)\'',
    'kind = "odd_components.EvenFilter"',
)
SELECTORS = (
    'kind = "topk"\nby = "final"',
    'kind = "category_cap"\ncolumn = "studio"\nmax = 2',
    'kind = "category_cap"\ncolumn = "genres"\nmax = 1\nby = "final"',
    'kind = "mmr"\nby = "final"\npool = 50',
    'kind = "dpp"\nby = "final"\nspace = "look"',
    'kind = "ssd"\nby = "final"\nwindow = 3',
    'kind = "weave"\npattern = ["*", "s0"]',
    'kind = "spacing"\nwhere = \'"War" in genres\'',
)


@st.composite
def surfaces(draw):
    sources = draw(st.lists(st.sampled_from(SOURCES), min_size=1, max_size=4, unique=True))
    parts, terms = [], []
    for at, text in enumerate(sources):
        parts.append(f'[[source]]\nname = "s{at}"\n' + text.format(n=draw(st.integers(1, 80))))
        terms.append(f'"s{at}.score" = {draw(st.floats(-2, 2)):.3f}')
    parts += [f"[[filter]]\n{text}" for text in draw(st.lists(st.sampled_from(FILTERS), max_size=4))]
    parts.append(f'[[scorer]]\nname = "final"\nkind = "weighted"\nterms = {{ {", ".join(terms)} }}')
    parts += [f"[[selector]]\n{text}" for text in draw(st.lists(st.sampled_from(SELECTORS), max_size=3))]
    return "\n".join(parts) + "\n"


@given(surface=surfaces(), users=st.lists(st.integers(0, 45), min_size=1, max_size=4), limit=st.integers(1, 60))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_candidate_has_exactly_one_end(film_store, tmp_path, surface, users, limit):
    node = node_with(film_store, tmp_path, random=surface)
    pipeline = node.engine.pipelines["random"]
    call = Call(Ask(users=list(users)), node.engine.epoch, Scratch(), time.monotonic_ns() + 10**12, never)
    running = Running(pipeline, call, limit, time.monotonic_ns())
    run_alone(running.steps)
    block, coverage = call.block, call.coverage
    assert all(entry.state == "ok" for entry in coverage), coverage
    assert sum(fates(call, pipeline).values()) == len(block)
    assert np.isin(block.fate, [SERVED, RESERVE, *range(DROPPED, DROPPED + 8)]).all()
    assert sorted(block.slate) == np.flatnonzero(block.fate == SERVED).tolist()
    retrieved = sum(entry.taken for entry in coverage if entry.stage == "source")
    assert retrieved == int(np.bitwise_count(block.sources).sum())
    assert len(block) == len({(g, r) for g, r in zip(block.group.tolist(), block.row.tolist(), strict=True)})
    for group in range(len(users)):
        assert (block.group[block.slate] == group).sum() <= limit
    for at, entry in enumerate(e for e in coverage if e.stage == "filter"):
        assert entry.left == (block.fate == DROPPED + at).sum()
    node.close()


@given(data=st.data())
@settings(deadline=None)
def test_merge_keeps_every_source_of_a_candidate(data):
    keys = np.arange(30, dtype=np.uint64)
    groups, names = data.draw(st.integers(1, 3)), ["a", "b", "c"]
    found = []
    for name in names:
        lists = [data.draw(st.lists(st.integers(0, 29), unique=True, max_size=12)) for _ in range(groups)]
        scored = [Candidates(np.array(x, np.uint32), np.array(x, np.float32) / 2) for x in lists]
        found.append((name, scored))
    block = merge(found, keys)
    entries = {(g, r): at for at, (g, r) in enumerate(zip(block.group.tolist(), block.row.tolist(), strict=True))}
    wanted = {(g, row) for _, lists in found for g, part in enumerate(lists) for row in part.rows.tolist()}
    assert set(entries) == wanted
    for (group, row), at in entries.items():
        ranks = []
        for bit, (name, lists) in enumerate(found):
            rows = lists[group].rows.tolist()
            assert bool(int(block.sources[at]) >> bit & 1) == (row in rows)
            score = block.columns[f"{name}.score"][at]
            assert score == row / 2 if row in rows else np.isnan(score)
            ranks += [rows.index(row)] if row in rows else []
        assert block.rank[at] == min(ranks)
