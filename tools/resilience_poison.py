"""``mixline bench resilience poison``: requests that kill whoever runs them, a hundred a second, among good traffic.

They are drawn from a few bodies, as poison is in practice: one bad client in a loop. Each body may kill two workers;
then the node must know it and refuse it at the door.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from mixline.tools.load import schedule
from mixline.tools.resilience_account import chosen, counts, crossed, failed, figures, p99_us
from mixline.tools.resilience_trial import trial, trial_options
from mixline.tools.resilience_verdict import Bar, conclude

SHARE = 0.3
CALM_S = 5.0
ATTEMPTS_MAX, ERRORS_MAX = 2, 0.001
QUARANTINE_S = 60.0
COUNTERS = ("poison", "worker_lost", "quarantined", "suspected", "deaths", "crashes", "redispatched", "overloaded")


@click.command()
@click.option("--rate", "poison_rate", default=100.0, show_default=True, type=click.FloatRange(0.1), help="Per second.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(1.0))
@click.option("--distinct", default=4, show_default=True, type=click.IntRange(1, 199), help="Different bodies.")
@trial_options
def poison(
    poison_rate: float,
    seconds: float,
    distinct: int,
    store: Path | None,
    workers: int,
    capacity: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Send poison among good traffic; it is refused, and the rest is served."""
    with trial(store, workers, [{"trouble": "die", "number": at} for at in range(distinct)]) as node:
        c = node.find_capacity(capacity)
        rate = c * SHARE
        calm = node.fly(rate, CALM_S)
        due_ns = schedule(poison_rate, seconds)
        drawn = node.first_trouble + np.random.default_rng(seed).integers(0, distinct, len(due_ns))
        flight = node.fly_mixed(rate, seconds, due_ns, drawn)
        whole_s = node.wait_whole()
        facts, counters = node.facts(seed, c, rate), node.info()["counters"]
    bad = flight.which >= node.first_trouble
    good, evil = chosen(flight, ~bad), chosen(flight, bad)
    errors = failed(good)
    executions = counters["crashes"] / (distinct * (1 + seconds // QUARANTINE_S))
    result = {
        **facts,
        "poison_rate": poison_rate,
        "distinct": distinct,
        "good": figures(good),
        "good_calm_p99_us": p99_us(calm),
        "last_good_error_s": round(float(good.due_ns[errors].max()) / 1e9, 2) if errors.any() else 0.0,
        "poison": {"sent": len(evil.status), "statuses": counts(evil.status), "attempts_most": int(evil.attempt.max())},
        "whole_again_s": round(whole_s, 2),
        "counters": {name: counters[name] for name in COUNTERS},
    }
    bars = [
        Bar("attempts at one request, at most", int(evil.attempt.max()), ATTEMPTS_MAX),
        Bar("workers killed per body and minute of quarantine", executions, ATTEMPTS_MAX),
        Bar("errors of good traffic, share", float(errors.mean()), ERRORS_MAX),
        Bar("poison that was answered with a page", int((~failed(evil)).sum()), 0),
        Bar("wrong pages", flight.wrong, 0),
        Bar("crossed or doubled replies", crossed(flight), 0),
    ]
    conclude("poison", result, bars, as_json)
