"""Counts of an item's events in spans of time, against a plain count of all of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.storage.counting import ACTIONS, NODE, Built, Late, count_items, link_counts
from mixline.storage.live_index import EVENT

STRIDE, CODES = 6, 3
TIME = st.one_of(st.integers(0, 30), st.integers(-5, 1 << 33))
EVENTS = st.lists(st.tuples(st.integers(0, STRIDE - 1), TIME, st.integers(0, CODES - 1)), max_size=80)
EDGES = st.lists(TIME, min_size=2, max_size=6, unique=True).map(lambda found: sorted(found, reverse=True))


def built_of(events):
    """The arrays of a build with these events, in another way than the builder's."""
    indptr, actions, starts, times = [0], [], [0], []
    for item in range(STRIDE):
        for action in range(ACTIONS):
            mine = sorted(min(max(time, 0), 0xFFFFFFFF) for one, time, code in events if (one, code) == (item, action))
            if mine:
                actions.append(action)
                times += mine
                starts.append(len(times))
        indptr.append(len(actions))
    dtypes = ("<i8", "u1", "<i8", "<u4")
    return Built(*(np.array(part, dtype) for part, dtype in zip((indptr, actions, starts, times), dtypes, strict=True)))


class Chains:
    """What a writer keeps."""

    def __init__(self, events):
        self.events, self.nodes = np.zeros(128, dtype=EVENT), np.zeros(128, dtype=NODE)
        self.heads = np.zeros(ACTIONS * STRIDE, dtype=np.uint32)
        for at, (item, time, code) in enumerate(events):
            self.events[at]["item"], self.events[at]["time"], self.events[at]["action"] = item, time, code

    def link(self, start, stop):
        link_counts(self.nodes, self.events, start, stop, EVENT, self.heads, STRIDE)

    @property
    def late(self):
        return Late(self.nodes, self.heads, STRIDE)


def plain_counts(events, edges, wanted):
    found = np.zeros((STRIDE, len(edges) - 1), dtype=np.int64)
    for item, time, code in events:
        clamped = min(max(time, 0), 0xFFFFFFFF)
        for at, (above, below) in enumerate(itertools.pairwise(edges)):
            found[item, at] += bool(wanted[code]) and below < clamped <= above
    return found


@given(
    events=EVENTS,
    edges=EDGES,
    flags=st.integers(1, (1 << CODES) - 1),
    ends=st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(0, 80)),
    ordered=st.booleans(),
)
def test_whatever_order_events_come_in(events, edges, flags, ends, ordered):
    """The first ``first`` events are of the build; of the rest a reader's state has those up to ``end``."""
    first, end, died = (min(one, len(events)) for one in ends)
    first, end = sorted((first, end))
    if ordered:
        events = sorted(events, key=lambda event: event[1])
    wanted = np.zeros(ACTIONS, dtype=np.uint8)
    wanted[:CODES] = [flags >> code & 1 for code in range(CODES)]
    later = events[first:]
    chains = Chains(later)
    chains.link(0, len(later))
    chains.link(min(died, len(later)), len(later))  # a writer that died had linked all of them already
    found = count_items(
        np.arange(STRIDE, dtype=np.uint32),
        np.array(edges),
        wanted,
        built_of(events[:first]),
        chains.late,
        end - first,
        CODES,
    )
    assert found.tolist() == plain_counts(events[:end], edges, wanted).tolist()


def test_long_chains_are_counted_by_their_jumps():
    """Events in the order of their times, many: as many nodes as stand in a span, exactly."""
    rng, count = np.random.default_rng(3), 20_000
    events, nodes = np.zeros(count, dtype=EVENT), np.zeros(count, dtype=NODE)
    events["time"] = np.sort(rng.integers(0, 1_000_000, count))
    events["time"][::50] = rng.integers(0, 1_000_000, count // 50)  # and some late ones
    heads = np.zeros(ACTIONS, dtype=np.uint32)
    link_counts(nodes, events, 0, count, EVENT, heads, 1)
    edges = np.array([900_000, 899_000, 700_000, 50_000, -1])
    found = count_items(
        np.zeros(1, np.uint32), edges, np.ones(ACTIONS, np.uint8), None, Late(nodes, heads, 1), count, 1
    )
    for at, (above, below) in enumerate(itertools.pairwise(edges)):
        assert found[0, at] == ((events["time"] > below) & (events["time"] <= above)).sum()


def test_blocks_are_no_events():
    chains = Chains([(1, 5, 0), (1, 6, 0x100)])
    chains.link(0, 2)
    ones = np.ones(ACTIONS, dtype=np.uint8)
    assert count_items(np.array([1], np.uint32), np.array([9, 0]), ones, None, chains.late, 2, CODES).tolist() == [[1]]


ONES, ITEMS, FALLING = np.ones(ACTIONS, np.uint8), np.zeros(1, np.uint32), np.array([2, 1])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: count_items(ITEMS, np.array([1, 1]), ONES, None, None, 0, 0),
        lambda: count_items(ITEMS, np.array([1]), ONES, None, None, 0, 0),
        lambda: count_items(ITEMS, FALLING, ONES[:9], None, None, 0, 0),
        lambda: count_items(ITEMS, FALLING, ONES, None, None, 0, 257),
        lambda: count_items(ITEMS.astype(np.int64), FALLING, ONES, None, None, 0, 0),
        lambda: Late(np.zeros(4, NODE), np.zeros(9, np.uint32), 1),
        lambda: Built(*(np.zeros(1, dtype) for dtype in ("<i8", "u1", "<i8", "<u4"))),
        lambda: link_counts(np.zeros(4, NODE), np.zeros(4, EVENT), 0, 5, EVENT, np.zeros(ACTIONS, np.uint32), 1),
    ],
)
def test_doors_check_what_they_are_given(wrong):
    with pytest.raises(ValueError):
        wrong()


def test_an_event_of_an_item_without_a_head_is_refused():
    chains = Chains([(STRIDE, 5, 0)])
    with pytest.raises(ValueError, match=f"item {STRIDE} of {STRIDE}"):
        chains.link(0, 1)
