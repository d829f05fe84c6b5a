"""``mixline bench resilience overload``: N × C for some seconds, for each N, and half of C after each.

Goodput, the speed of pages and of refusals, memory and the time until calm are those of ``mixline bench load --steps``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mixline.tools.bench_load import Numbers
from mixline.tools.load_report import figures
from mixline.tools.load_steps import run_step
from mixline.tools.resilience_account import failed
from mixline.tools.resilience_trial import Trial, trial, trial_options
from mixline.tools.resilience_verdict import Bar, conclude

GOODPUT_MIN = {2.0: 0.95, 5.0: 0.90, 10.0: 0.70}
P99_TIMES_MAX, OVERLOADED_P99_US_MAX = 2.0, 10_000
RSS_MB_MAX, CALM_S_MAX = 64.0, 2.0
LOWER = 0.94
HOLDS = 2


def goodput_min(times: float) -> float:
    """The bar of the nearest step at or above; beyond the last, the last one's."""
    return next((share for step, share in GOODPUT_MIN.items() if times <= step), min(GOODPUT_MIN.values()))


def hold_capacity(node: Trial, c: float, seconds: float, told: bool) -> tuple[float, dict[str, Any]]:
    """A capacity that lasts as long as a step does, and what it showed: a probe of the search is short, perhaps lucky.

    C is lowered until a whole step passes without an error, unless it was told. As in the search, a step that fails is
    tried again before it counts.
    """
    while True:
        for _ in range(HOLDS):
            flight = node.place.fly(c, seconds)
            if told or c < 1.0 or not failed(flight).any():
                return c, figures(c, seconds, flight, node.mix)
        c *= LOWER


@click.command()
@click.option("--steps", type=Numbers(), default="2,5,10", show_default=True, help="Multiples of C.")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(0.5), help="Of each step.")
@trial_options
def overload(
    steps: list[float],
    seconds: float,
    store: Path | None,
    workers: int,
    capacity: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Press a node beyond its capacity; it refuses fast and keeps serving."""
    with trial(store, workers) as node:
        c, at_c = hold_capacity(node, node.find_capacity(capacity), seconds, told=capacity is not None)
        done = [run_step(node.volley, node.mix, c, times, seconds, node.pids) for times in steps]
        facts = node.facts(seed, c, c)
    bars = []
    for step in done:
        times = step["times"]
        grown = step["rss_most_mb"] - step["rss_before_mb"]
        bars += [
            Bar(f"{times:g} C: goodput / C", step["goodput_of_capacity"], goodput_min(times), at_most=False),
            Bar(f"{times:g} C: p99 of pages / p99 at C", step["accepted_p99_us"] / at_c["p99_us"], P99_TIMES_MAX),
            Bar(f"{times:g} C: p99 of OVERLOADED, us", step["overloaded_p99_us"], OVERLOADED_P99_US_MAX),
            Bar(f"{times:g} C: RSS grown, MB", round(grown, 1), RSS_MB_MAX),
            Bar(f"{times:g} C: calm again after, s", step["calm_after_s"], CALM_S_MAX),
        ]
    conclude("overload", {**facts, "at_capacity": at_c, "steps": done}, bars, as_json)
