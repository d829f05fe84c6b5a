"""``mixline bench resilience restarts``: kill -9 workers and brokers by the hundred, and count what the node holds.

One broker dies for every so many workers, so that lives overlap in every way. Descriptors, memfds, reader slots and
zombies must be exactly as before; resident memory within 5 %, of each process compared with one as old as itself.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import click

from mixline.tools.resilience_account import counts, crossed, failed
from mixline.tools.resilience_census import Census, change
from mixline.tools.resilience_trial import PATIENCE_S, Trial, kill, trial, trial_options
from mixline.tools.resilience_vanish import count_up
from mixline.tools.resilience_verdict import Bar, conclude

RSS_CHANGE_MAX = 0.05
RATE, LOAD_S = 100.0, 2.0
LEVEL_S = 1.0


def kill_worker(node: Trial, rng: random.Random) -> None:
    """Any seat's, the standby's too; back when its successor is ready."""
    victim = rng.choice(node.seats("ready", "standby"))["pid"]
    kill(victim, signal.SIGKILL)
    node.wait_for(
        lambda: victim not in [each["pid"] for each in node.info()["workers"]] and node.whole(),
        60.0,
        "a killed worker is replaced",
    )


def kill_broker(node: Trial) -> None:
    """Back when the next life serves with all its workers."""
    info = node.info()
    kill(info["pid"], signal.SIGKILL)
    node.wait_for(lambda: node.info()["life"] > info["life"] and node.whole(), 60.0, "a broker of the next life serves")


def level(node: Trial, rng: random.Random) -> Census:
    """A census of processes of one age: fresh broker and workers, each with the same short load behind it."""
    for victim in [each["pid"] for each in node.seats("ready", "standby")]:
        kill(victim, signal.SIGKILL)
        time.sleep(PATIENCE_S)
    node.wait_whole()
    kill_broker(node)
    node.fly(RATE, LOAD_S)
    time.sleep(LEVEL_S)
    return count_up(node)


@click.command()
@click.option("--workers-killed", default=500, show_default=True, type=click.IntRange(1))
@click.option("--brokers-killed", default=50, show_default=True, type=click.IntRange(0))
@trial_options
def restarts(
    workers_killed: int,
    brokers_killed: int,
    store: Path | None,
    workers: int,
    capacity: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Restart everything hundreds of times; nothing accumulates."""
    rng = random.Random(seed)
    every = max(1, workers_killed // max(1, brokers_killed))
    brokers = 0
    with trial(store, workers) as node:
        node.wait_whole()
        before = level(node, rng)
        started_s = time.monotonic()
        for at in range(workers_killed):
            kill_worker(node, rng)
            if at % every == every - 1 and brokers < brokers_killed:
                kill_broker(node)
                brokers += 1
        took_s = time.monotonic() - started_s
        after = level(node, rng)
        flight = node.fly(RATE, LOAD_S)
        facts, info = node.facts(seed, capacity or 0.0, RATE), node.info()
    bars = [Bar("brokers killed", brokers, min(brokers_killed, workers_killed // every), at_most=False)]
    for who in ("supervisor", "broker", "workers"):
        old, new = getattr(before, who), getattr(after, who)
        bars += [
            Bar(f"{who}: descriptors more than before", new.fds - old.fds, 0),
            Bar(f"{who}: memfds more than before", new.memfds - old.memfds, 0),
            Bar(f"{who}: RSS changed, share", round(change(old.rss_mb, new.rss_mb), 4), RSS_CHANGE_MAX),
        ]
    bars += [
        Bar("zombies", after.zombies, 0),
        Bar("reader slots more than before", after.reader_slots - before.reader_slots, 0),
        Bar("processes more than before", after.processes - before.processes, 0),
        Bar("slots still taken", info["slots_taken"], 0),
        Bar("asks that failed afterwards", int(failed(flight).sum()), 0),
        Bar("wrong, crossed or doubled replies", flight.wrong + crossed(flight), 0),
    ]
    result = {
        **facts,
        "workers_killed": workers_killed,
        "brokers_killed": brokers,
        "seconds": round(took_s, 1),
        "before": before.to_dict(),
        "after": after.to_dict(),
        "served_after": counts(flight.status),
    }
    conclude("restarts", result, bars, as_json)
