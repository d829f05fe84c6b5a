"""From contenders to figures: recall and queries a second at each width, and who is faster at equal recall.

Recall is measured once; times in rounds, every point of every contender in turn, and the median round counts. A time is
the CPU that the process spends, all its threads together: what others do on the same cores disturbs that less than the
clock, and nobody gains by threads of his own. Between
two points of a curve the logarithms of speed and of missed rows are taken to change together; beyond the points nothing
is said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from mixline.tools.retrieval_contender import Built, Contender, Task
from mixline.tools.retrieval_data import Truth

ENOUGH = 0.9995  # of recall: wider is only slower
PATIENCE_S = 2.5  # for the recall of one point; at least LEAST calls
LEAST = 4
MISS_MIN = 1e-5
EXACT = 0.999


class Point(msgspec.Struct):
    """One width of one contender."""

    width: int
    recall: float
    queries_per_s: float = 0.0


class Curve(msgspec.Struct):
    """The points of a contender, widths rising."""

    name: str
    ours: bool
    exact: bool
    points: list[Point]

    def speed_at(self, recall: float) -> float | None:
        """Queries a second at that recall: of points that reach it, or between two around it; None beyond them."""
        reached = [one.queries_per_s for one in self.points if one.recall >= recall]
        if not reached:
            return None
        fastest = max(reached)
        for low, high in zip(self.points, self.points[1:], strict=False):
            if low.recall < recall < high.recall:
                ends = [math.log(max(1.0 - one.recall, MISS_MIN)) for one in (low, high)]
                share = (ends[0] - math.log(max(1.0 - recall, MISS_MIN))) / (ends[0] - ends[1])
                between = low.queries_per_s ** (1.0 - share) * high.queries_per_s**share
                fastest = max(fastest, between)
        return fastest


def batches(task: Task) -> list[tuple[int, np.ndarray]]:
    """Where each call's queries begin, and those queries; as many in each."""
    queries, batch = task.data.queries, task.batch
    return [(at, queries[at : at + batch]) for at in range(0, len(queries) - batch + 1, batch)]


def sweep(one: Contender, task: Task, truth: Truth) -> Curve:
    """The recall at each width, up to the first that is enough."""
    points: list[Point] = []
    for width in one.widths:
        shares: list[float] = []
        began = time.perf_counter()
        for call, (at, queries) in enumerate(batches(task)):
            found = one.search(queries, width)
            shares += [truth.recall(at + place, rows) for place, rows in enumerate(found)]
            if call + 1 >= LEAST and time.perf_counter() - began > PATIENCE_S:
                break
        points.append(Point(width, round(float(np.mean(shares)), 6)))
        if points[-1].recall >= ENOUGH:
            break
    return Curve(one.name, one.ours, one.exact, points)


def race(contenders: Sequence[Contender], curves: Sequence[Curve], task: Task, rounds: int, seconds: float) -> None:
    """Time every point in turn, ``rounds`` times, for ``seconds`` of CPU each or all queries; medians go into the
    curves."""
    calls = batches(task)
    times: dict[tuple[str, int], list[float]] = {}
    for turn in range(rounds):
        for one, curve in zip(contenders, curves, strict=True):
            for point in curve.points:
                spent, done = 0.0, 0
                while spent < seconds and done < len(calls):
                    queries = calls[(turn * 7 + done) % len(calls)][1]
                    began = time.process_time()
                    one.search(queries, point.width)
                    spent += time.process_time() - began
                    done += 1
                times.setdefault((curve.name, point.width), []).append(spent / (done * task.batch))
    for curve in curves:
        for point in curve.points:
            point.queries_per_s = round(1.0 / max(float(np.median(times[curve.name, point.width])), 1e-9), 2)


def fastest(curves: Iterable[Curve], recall: float) -> tuple[str, float] | None:
    """Who answers most queries a second at that recall."""
    speeds = [(speed, one.name) for one in curves if (speed := one.speed_at(recall)) is not None]
    return max(speeds)[::-1] if speeds else None


def against(mine: Iterable[Curve], theirs: Iterable[Curve], recall: float) -> dict[str, Any] | None:
    """The best of each side at a recall, and how many times as fast mine is."""
    left, right = fastest(mine, recall), fastest(theirs, recall)
    if left is None or right is None:
        return None
    return {
        "mixline": left[0],
        "queries_per_s": round(left[1], 1),
        "peer": right[0],
        "peer_queries_per_s": round(right[1], 1),
        "ratio": round(left[1] / right[1], 3),
    }


def comparisons(curves: Sequence[Curve]) -> dict[str, Any]:
    """By name: what each way of ours is compared with, and the ratio."""
    peers = [one for one in curves if not one.ours]
    exact_peers = [one for one in peers if one.exact]

    def named(*names: str) -> list[Curve]:
        return [one for one in curves if one.name in names]

    wanted = {
        "exact_int8": (named("mixline_int8"), exact_peers, EXACT),
        "exact_int8_estimates": (named("mixline_int8_estimates"), exact_peers, EXACT),
        "exact_int4": (named("mixline_int4_estimates"), exact_peers, EXACT),
        "exact_to_scann_brute": (named("mixline_int8", "mixline_int8_estimates"), named("scann_brute"), EXACT),
        "certified_to_float": (named("mixline_int8"), named("mixline_float"), EXACT),
        "ivf_at_.99": (named("mixline_ivf"), peers, 0.99),
        "graph_at_.99": (named("mixline_graph"), peers, 0.99),
        "graph_to_hnswlib_at_.99": (named("mixline_graph"), named("hnswlib"), 0.99),
    }
    found = {name: against(*one) for name, one in wanted.items()}
    return {name: one for name, one in found.items() if one is not None}


def build_ratios(built: dict[str, Built]) -> dict[str, float]:
    """How many times as much CPU hnswlib's build took as ours, codes included, where both had as many threads."""
    peer = built.get("hnswlib")
    sums = {"ivf_build": ("mixline_int8", "mixline_ivf"), "graph_build": ("mixline_graph",)}
    return {
        name: round(peer.cpu_seconds / max(sum(built[part].cpu_seconds for part in parts), 0.01), 2)
        for name, parts in sums.items()
        if peer is not None and all(part in built and built[part].threads == peer.threads for part in parts)
    }
