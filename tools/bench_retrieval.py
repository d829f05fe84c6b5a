"""``mixline bench retrieval``: every way of ours to find the nearest items beside every peer that is installed.

One run, one thread each, all points of all contenders in turn, medians. Approximate indexes are swept over their
widths, and compared at equal recall between measured points. Indexes are cached with the time their build took.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from mixline.kernels.isa import in_use
from mixline.kernels.shortlist import TOGETHER_MAX
from mixline.storage.clusters import threads
from mixline.tools.bench import report
from mixline.tools.bench_scan import one_thread
from mixline.tools.retrieval_contender import Built, Contender, Task
from mixline.tools.retrieval_curves import Curve, against, build_ratios, comparisons, race, sweep
from mixline.tools.retrieval_data import SEED, Truth, load
from mixline.tools.retrieval_ours import ours
from mixline.tools.retrieval_peers import missing, peers

TARGETS = (0.9, 0.95, 0.99, 0.999)


def assemble(task: Task, built: dict[str, Built]) -> list[Contender]:
    """All contenders; several queries in a call only those that make one pass for them."""
    return [one for one in (*ours(task, built), *peers(task, built)) if task.wants(one.name)]


def measure(task: Task, rounds: int, seconds: float) -> tuple[dict[str, Any], list[Curve]]:
    """All figures, and the curves behind them."""
    built: dict[str, Built] = {}
    contenders = assemble(task, built)
    if not contenders:
        raise click.UsageError(f"nobody is called {', '.join(task.only)}")
    truth = Truth(task.data, task.k, task.allowed)
    with one_thread():
        curves = [sweep(one, task, truth) for one in contenders]
        race(contenders, curves, task, rounds, seconds)
    mine, theirs = [one for one in curves if one.ours], [one for one in curves if not one.ours]
    figures: dict[str, Any] = {
        "data": task.data.key,
        "metric": task.data.metric,
        "rows": len(task.data.rows),
        "dim": task.data.rows.shape[1],
        "k": task.k,
        "batch": task.batch,
        "allowed": 1.0 if task.allowed is None else round(float(task.allowed.mean()), 4),
        "instruction_set": in_use(),
        "missing": missing(),
        "curves": msgspec.to_builtins(curves),
        "at_recall": {str(target): against(mine, theirs, target) for target in TARGETS},
        "ratios": comparisons(curves),
        "build": msgspec.to_builtins(built),
        "build_ratios": build_ratios(built),
    }
    return figures, curves


def flat(figures: dict[str, Any]) -> dict[str, Any]:
    """For lines of text: a name and a value each."""
    lines = {name: value for name, value in figures.items() if not isinstance(value, (dict, list))}
    lines["missing"] = " ".join(figures["missing"]) or "none"
    for curve in figures["curves"]:
        for point in curve["points"]:
            lines[f"{curve['name']} {point['width']}"] = f"{point['queries_per_s']:.1f}/s at {point['recall']:.4f}"
    compared = {f"at recall {target}": one for target, one in figures["at_recall"].items()} | figures["ratios"]
    for name, one in compared.items():
        lines[name] = one and f"{one['ratio']:.2f} x: {one['mixline']} to {one['peer']}"
    for name, one in figures["build"].items():
        lines[f"{name} built in"] = (
            f"{one['seconds']:.1f} s, {one['cpu_seconds']:.1f} s of CPU, {one['threads']} threads"
        )
    return lines | figures["build_ratios"]


@click.command()
@click.option(
    "--data", "name", default="clustered", show_default=True, type=click.Choice(["clustered", "patches_dev", "mnist"])
)
@click.option("--rows", default=1_000_000, show_default=True, help="Of clustered data.")
@click.option("--dim", default=128, show_default=True, help="Of clustered data.")
@click.option("--k", default=100, show_default=True)
@click.option(
    "--batch", default=1, show_default=True, type=click.IntRange(1, TOGETHER_MAX), help="Queries in one call."
)
@click.option(
    "--allowed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of rows, drawn at random.",
)
@click.option("--queries", default=200, show_default=True, help="That recall is measured with; at least two calls.")
@click.option("--rounds", default=7, show_default=True, help="Of all points in turn.")
@click.option("--seconds", default=0.1, show_default=True, help="For each point in each round.")
@click.option("--only", multiple=True, help="Contenders by name; all unless told.")
@click.option("--without", multiple=True, help="Contenders that are left out.")
@click.option("--rebuild", is_flag=True, help="Build all indexes anew, and time it.")
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), help="A PNG of recall against speed."
)
@click.option("--json", "as_json", is_flag=True)
def retrieval(
    name: str,
    rows: int,
    dim: int,
    k: int,
    batch: int,
    allowed: float,
    queries: int,
    rounds: int,
    seconds: float,
    only: tuple[str, ...],
    without: tuple[str, ...],
    rebuild: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Recall and queries per second of all ways to find the nearest items, beside all peers that are installed."""
    began = time.perf_counter()
    data = load(name, rows, dim, max(queries, 2 * batch))
    flags = None if allowed == 1.0 else np.random.default_rng(SEED).random(len(data.rows)) < allowed
    task = Task(data, min(k, len(data.rows)), batch, flags, threads(), rebuild, only, without)
    figures, curves = measure(task, rounds, seconds)
    if picture is not None:
        from mixline.tools.retrieval_plot import plot

        plot(picture, curves, f"{data.key}, {data.metric}, k = {k}, {allowed:.0%} of rows allowed, batch {batch}")
    click.echo(f"{time.perf_counter() - began:.0f} s", err=True)
    report(figures if as_json else flat(figures), as_json)
