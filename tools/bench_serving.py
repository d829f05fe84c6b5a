"""``mixline bench serving``: the typical request through the node and through what one would build instead.

20,000 items x 64, the 500 nearest of a user, 16 features each, a weighted score, the best 50: small enough that frames
and feature stores are measured, not scans. With more items the search is measured too, exact or by an index. Every
contender has two workers, the same client program on the same cores, and must agree with float64 NumPy before it is
timed; where anybody is approximate, all must show a recall of .99 by their pages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.tools.bench import report
from mixline.tools.flight import Flight
from mixline.tools.load import schedule
from mixline.tools.load_ramp import NoCapacity, find_capacity
from mixline.tools.processes import Neighbours, pss_mb
from mixline.tools.serving_contenders import CONTENDERS, DEADLINE_MS, Running, check_needs
from mixline.tools.serving_data import ITEMS, RECALL_MIN, USERS, Case, Reference, recall_of, serving_case
from mixline.tools.volley import Volley

CHECKED, CHECKED_APPROXIMATE = 60, 200  # requests
PACE_S, PACE_IN_FLIGHT = 2.0, 8
WARM_S = 1.0
CHECK_RATE = 50
MOSEC = ("mosec_lmdb", "mosec_lmdb_batched")
FASTAPI = ("fastapi_redis", "fastapi_mapped")


def users_in_turn(count: int) -> np.ndarray:
    """Every user as often as every other, in no order that a cache could like."""
    return np.resize(np.random.default_rng(2).permutation(USERS).astype(np.uint32), count)


def fly(running: Running, rate: float, seconds: float, keep_every: int = 0) -> Flight:
    """Open loop at one rate."""
    due_ns = schedule(rate, seconds)
    return Volley(running.transport).open(due_ns, users_in_turn(len(due_ns)), 5.0, keep_every)


def check(name: str, running: Running, reference: Reference) -> None:
    """ClickException unless a sample of answers agrees with the reference."""
    for user, page in sample(name, running, CHECKED):
        fault = reference.fault(user, *page)
        if fault:
            raise click.ClickException(f"{name} does not agree with float64 NumPy: {fault}")


def check_recall(name: str, running: Running, reference: Reference) -> float:
    """The recall that a sample of pages shows; ClickException when it is surely below .99."""
    shares = []
    for user, page in sample(name, running, CHECKED_APPROXIMATE):
        fault, share = reference.found(user, *page)
        if fault:
            raise click.ClickException(f"{name} does not agree with float64 NumPy: {fault}")
        shares.append(share)
    recall, noise = recall_of(shares)
    if recall + noise < RECALL_MIN:
        raise click.ClickException(f"{name}: a recall of {recall:.4f}, which by chance may be {noise:.4f} off")
    return recall


def sample(name: str, running: Running, count: int) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Users with their ids and scores; ClickException when any request brought no page."""
    flight = fly(running, CHECK_RATE, count / CHECK_RATE, keep_every=1)
    if flight.counts != {running.good: count}:
        words = next(iter(flight.bodies.values()), b"")[:300]
        raise click.ClickException(f"{name}: {count} requests ended with {flight.counts}; the first said {words!r}")
    for shot, body in flight.bodies.items():
        yield int(flight.which[shot]), running.decode(body)


def latencies(flight: Flight, running: Running) -> dict[str, float]:
    """Percentiles of what was answered, and what was not."""
    seen = flight.latency_us(running.good)
    p50, p99 = np.percentile(seen, [50, 99]) if len(seen) else (float("nan"), float("nan"))
    return {
        "p50_ms": round(float(p50) / 1000, 3),
        "p99_ms": round(float(p99) / 1000, 3),
        "errors": len(flight.status) - len(seen),
    }


def find_rate(name: str, running: Running, seconds: float, quiet: bool) -> dict[str, Any]:
    """The highest rate with p99 within the deadline and no error."""
    in_flight = Volley(running.transport).closed(users_in_turn(1 << 14), PACE_IN_FLIGHT, PACE_S)
    best: dict[float, Flight] = {}
    neighbours = Neighbours(running.pids())

    def probe(rate: float) -> bool:
        flight = fly(running, rate, seconds)
        seen = latencies(flight, running)
        good = not seen["errors"] and seen["p99_ms"] <= DEADLINE_MS
        if not quiet:
            click.echo(f"{name:20} {rate:8,.0f}/s  p99 {seen['p99_ms']:8.2f} ms  {seen['errors']} errors", err=True)
        if good:
            best[rate] = flight
        return good

    try:
        highest = find_capacity(in_flight.pace * 0.9, probe, precision=0.04)
    except NoCapacity as error:
        raise click.ClickException(f"{name}: {error}") from None
    return {
        "highest_rate": round(highest),
        "closed_loop": round(in_flight.pace),
        "at_highest": latencies(best[highest], running),
        "pss_mb": round(pss_mb(running.pids()), 1),
        "cores_of_others": neighbours.cores(running.pids()),
        "bottleneck": best[highest].bottleneck,
    }


def at_rate(running: Running, rate: float, seconds: float) -> dict[str, Any]:
    """Latencies and CPU at a rate that all are measured at."""
    neighbours = Neighbours(running.pids())
    flight = fly(running, rate, seconds)
    pids = running.pids()
    return {
        **latencies(flight, running),
        "cpu_us_per_request": round(neighbours.spent_us(pids) / max(1, flight.sent), 1),
        "cores_of_others": neighbours.cores(pids),
        "bottleneck": flight.bottleneck,
    }


def with_contender(name: str, base: Path, case: Case, act: Callable[[Running], dict[str, Any]]) -> dict[str, Any]:
    """Start one contender in a folder of its own, warm it, do something with it, end it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name[:8]}-", dir=base))
    with CONTENDERS[name](folder, case) as running:
        Volley(running.transport).closed(users_in_turn(1 << 10), 2, WARM_S)  # maps of indexes have no page yet
        return act(running)


def ratios(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """mixline's rate over each peer's; its p99 at the common rate over mosec's; its memory over FastAPI's."""
    ours, found = results["mixline"], {}
    peers = [name for name in results if name != "mixline"]
    for name in peers:
        found[f"rate_to_{name}"] = round(ours["highest_rate"] / results[name]["highest_rate"], 2)
    for name in peers:
        if name in MOSEC:
            found[f"p99_to_{name}"] = round(ours["at_common"]["p99_ms"] / results[name]["at_common"]["p99_ms"], 3)
        if name in FASTAPI:
            found[f"pss_to_{name}"] = round(ours["pss_mb"] / results[name]["pss_mb"], 3)
    if peers:
        found["rate_to_best_peer"] = min(found[f"rate_to_{name}"] for name in peers)
    return found


def measure_all(
    names: Sequence[str], case: Case, seconds: float, rounds: int, quiet: bool
) -> tuple[dict[str, dict[str, Any]], float, list[str]]:
    """Every contender's figures; the rate at which all are compared, and whose capacity it is derived from."""
    reference = Reference(case.folder)
    exact = case.surface == "exact" and case.faiss == "flat"
    results: dict[str, dict[str, Any]] = {}

    def first(name: str) -> Callable[[Running], dict[str, Any]]:
        def act(running: Running) -> dict[str, Any]:
            if exact:
                check(name, running, reference)
                return find_rate(name, running, seconds, quiet)
            recall = check_recall(name, running, reference)
            return {"recall": round(recall, 4), **find_rate(name, running, seconds, quiet)}

        return act

    with tempfile.TemporaryDirectory(prefix="mixline-bench-") as folder:
        base = Path(folder)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for name in [*names] * rounds:
            found[name].append(with_contender(name, base, case, first(name)))
        for name, seen in found.items():
            results[name] = sorted(seen, key=lambda each: each["highest_rate"])[(len(seen) - 1) // 2]
            results[name]["rounds"] = [each["highest_rate"] for each in seen]
        bases = [name for name in MOSEC if name in results] or [name for name in names if name != "mixline"] or [*names]
        common = 0.8 * max(results[name]["highest_rate"] for name in bases)
        for name in names:
            results[name]["at_common"] = with_contender(
                name, base, case, lambda running: at_rate(running, common, 2 * seconds)
            )
    return results, common, bases


@click.command()
@click.option("--items", default=ITEMS, show_default=True, type=click.IntRange(5000), help="20000 are random.")
@click.option(
    "--index",
    "surface",
    default="exact",
    show_default=True,
    type=click.Choice(["exact", "approximate"]),
    help="Of the node: an exact search, or the cheapest with a recall of .99.",
)
@click.option(
    "--faiss",
    type=click.Choice(["flat", "ivf", "hnsw"]),
    help="The peers' index, with a recall of .99.  [default: flat beside exact, ivf beside approximate]",
)
@click.option("--seconds", default=4.0, show_default=True, type=click.FloatRange(0.5), help="Of each probe.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1, 20), help="Median of so many searches.")
@click.option("--only", multiple=True, type=click.Choice(list(CONTENDERS)), help="Only these, beside mixline.")
@click.option("--json", "as_json", is_flag=True)
def serving(
    items: int, surface: str, faiss: str | None, seconds: float, rounds: int, only: tuple[str, ...], as_json: bool
) -> None:
    """The highest rate, latency at 80 % of mosec's, and memory of the node and five alternatives, in turn."""
    check_needs()
    names = [name for name in CONTENDERS if not only or name in only or name == "mixline"]
    case = serving_case(items, surface, faiss or ("flat" if surface == "exact" else "ivf"))
    results, common, bases = measure_all(names, case, seconds, rounds, as_json)
    report(
        {
            "items": items,
            "index": surface,
            "faiss": case.faiss,
            "deadline_ms": DEADLINE_MS,
            "common_rate": round(common),
            "common_rate_is_80_percent_of": "the faster of " + " and ".join(bases),
            **results,
            **ratios(results),
        },
        as_json,
    )
