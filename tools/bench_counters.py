"""``mixline bench counters``: events of 500 items in windows, of a build and of what came later, against NumPy."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np

from mixline.node.windows import Counter, Spans
from mixline.storage.counting import ACTIONS, NODE, Built, Late, count_items, link_counts
from mixline.storage.live_index import EVENT
from mixline.tools.bench import report

NOW, DAYS, LATE_SHARE, LATE_S = 1_800_000_000, 30, 0.01, 7200
KINDS = 4  # of actions
COLUMNS = {
    "windows": [Counter(window=window) for window in ("1h", "1d", "7d", "30d")],
    "decayed": [Counter(half_life="1d")],
}


def made_events(count: int, items: int) -> np.ndarray:
    """In the order in which they come: a few hot items, and a share of events that are up to two hours late."""
    rng = np.random.default_rng(1)
    events = np.zeros(count, dtype=EVENT)
    events["time"] = np.sort(NOW - rng.integers(0, DAYS * 86_400, count))
    late = rng.random(count) < LATE_SHARE
    events["time"][late] -= rng.integers(0, LATE_S, int(late.sum()))
    events["item"] = items * rng.random(count) ** 4
    events["action"] = rng.integers(0, KINDS, count)
    return events


def built_of(events: np.ndarray, items: int) -> tuple[Built, list[np.ndarray]]:
    """The arrays of a build, and for the peer an array of times for each item."""
    order = np.lexsort((events["time"], events["action"], events["item"]))
    pair = (events["item"].astype(np.int64) << 8 | events["action"])[order]
    first = np.flatnonzero(np.append(True, pair[1:] != pair[:-1]))
    sizes = np.bincount(pair[first] >> 8, minlength=items)
    indptr = np.append(0, np.cumsum(sizes)).astype(np.int64)
    times = events["time"][order].astype(np.uint32)
    built = Built(indptr, (pair[first] & 0xFF).astype(np.uint8), np.append(first, len(events)).astype(np.int64), times)
    by_item = np.lexsort((events["time"], events["item"]))
    ends = np.cumsum(np.bincount(events["item"], minlength=items))
    return built, np.split(events["time"][by_item], ends[:-1])


def chained(events: np.ndarray, items: int) -> tuple[Late, float]:
    """The chains of a writer, and nanoseconds for each event."""
    nodes, heads = np.zeros(len(events), dtype=NODE), np.zeros(ACTIONS * items, dtype=np.uint32)
    nodes.view(np.uint8)[::4096] = 0  # pages are taken before, as a writer takes room
    started = time.perf_counter()
    link_counts(nodes, events, 0, len(events), EVENT, heads, items)
    return Late(nodes, heads, items), (time.perf_counter() - started) / len(events) * 1e9


def numpy_counts(lists: list[np.ndarray], rows: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The peer: one ``searchsorted`` for each item."""
    found = np.empty((len(rows), len(edges) - 1), dtype=np.int64)
    for at, row in enumerate(rows.tolist()):
        found[at] = -np.diff(np.searchsorted(lists[row], edges, side="right"))
    return found


@click.command()
@click.option("--items", default=1_000_000, show_default=True)
@click.option("--events", "count", default=4_000_000, show_default=True)
@click.option("--rows", default=500, show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def counters(items: int, count: int, rows: int, rounds: int, as_json: bool) -> None:
    """Counts of the hottest items and of items at random; the counts of all contenders are compared."""
    events = made_events(count, items)
    built, lists = built_of(events, items)
    late, link_ns = chained(events, items)
    ones = np.ones(ACTIONS, dtype=np.uint8)
    chosen = {
        "hot": np.arange(rows, dtype=np.uint32),
        "random": np.random.default_rng(2).integers(0, items, rows).astype(np.uint32),
    }
    figures: dict[str, Any] = {"link_ns": round(link_ns)}
    for what, columns in COLUMNS.items():
        edges = Spans(columns).edges(NOW)
        for which, some in chosen.items():
            runs: dict[str, Callable[[], np.ndarray]] = {
                "build": partial(count_items, some, edges, ones, built, None, 0, 0),
                "later": partial(count_items, some, edges, ones, None, late, count, KINDS),
                "numpy": partial(numpy_counts, lists, some, edges),
            }
            spent: dict[str, list[float]] = {each: [] for each in runs}
            for _ in range(rounds):
                found = []
                for each, run in runs.items():
                    started = time.perf_counter()
                    found.append(run())
                    spent[each].append(time.perf_counter() - started)
                assert all((one == found[0]).all() for one in found)
            median = {each: float(np.median(times)) * 1e6 for each, times in spent.items()}
            figures |= {f"{what}_{which}_{each}_us": round(us, 1) for each, us in median.items()}
            for each in ("build", "later"):
                figures[f"{what}_{which}_{each}_ratio_to_numpy"] = round(median["numpy"] / median[each], 2)
    report(figures, as_json)
