"""``mixline bench NAME``: every figure the documents claim, measured again by whoever doubts it.

A speed is a ratio to a named peer in the same run. Each benchmark is a click command of its own module, imported when
called, and prints one JSON object with ``--json``.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import Any

import click
import msgspec

NAMES = {
    "scan": "mixline.tools.bench_scan:scan_command",
    "quality": "mixline.tools.bench_quality:quality",
    "retrieval": "mixline.tools.bench_retrieval:retrieval",
    "deadline": "mixline.tools.bench_deadline:deadline",
    "hybrid": "mixline.tools.bench_hybrid:hybrid",
    "hydration": "mixline.tools.bench_hydration:hydration",
    "framework": "mixline.tools.bench_framework:framework",
    "forest": "mixline.tools.bench_forest:forest",
    "memory": "mixline.tools.bench_memory:memory",
    "gowalla": "mixline.tools.bench_gowalla:gowalla",
    "broker": "mixline.tools.bench_broker:broker",
    "slates": "mixline.tools.bench_slates:slates",
    "load": "mixline.tools.bench_load:load",
    "replay": "mixline.tools.bench_replay:replay_bench",
    "search": "mixline.tools.bench_search:search",
    "serving": "mixline.tools.bench_serving:serving",
    "shared": "mixline.tools.bench_shared:shared",
    "spelling": "mixline.tools.bench_spelling:spelling",
    "suggest": "mixline.tools.bench_suggest:suggest",
    "counters": "mixline.tools.bench_counters:counters",
    "homefeed": "mixline.tools.bench_homefeed:homefeed",
    "live": "mixline.tools.bench_live:live",
    "notifications": "mixline.tools.bench_notifications:notifications",
    "pages": "mixline.tools.bench_pages:pages",
    "snapshot": "mixline.tools.bench_snapshot:snapshot",
    "together": "mixline.tools.bench_together:together",
    "walk": "mixline.tools.bench_walk:walk",
    "warm": "mixline.tools.bench_warm:warm_up",
}
GROUPS = {"resilience": "mixline.tools.resilience:resilience"}  # many long ones under a name, not in `bench all`


class Benchmarks(click.Group):
    """The benchmarks by name, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*NAMES, *GROUPS, *self.commands])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = NAMES.get(cmd_name) or GROUPS.get(cmd_name)
        if path is None:
            return super().get_command(ctx, cmd_name)
        module, attribute = path.split(":")
        return getattr(importlib.import_module(module), attribute)


@click.group(cls=Benchmarks)
def bench() -> None:
    """Measure this machine; peers come with the extra [bench]."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # one thread each: ratios are per core


def report(figures: dict[str, Any], as_json: bool) -> None:
    """One JSON object, or one line per figure."""
    if as_json:
        click.echo(msgspec.json.encode(figures).decode())
        return
    for name, value in figures.items():
        click.echo(f"{name}\t{value:.4g}" if isinstance(value, float) else f"{name}\t{value}")


@bench.command("all")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def every(context: click.Context, as_json: bool) -> None:
    """Every benchmark in turn, each in a process of its own; one line of JSON each. ``--json`` changes nothing."""
    failed = []
    for name in NAMES:
        done = subprocess.run([sys.executable, "-m", "mixline.tools", "bench", name, "--json"], stdout=subprocess.PIPE)
        figures = done.stdout.decode().strip() or "null"
        click.echo(f'{{"bench": "{name}", "exit": {done.returncode}, "figures": {figures}}}')
        failed += [name] if done.returncode else []
    if failed:
        context.exit(1)
