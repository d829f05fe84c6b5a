"""``mixline bench memory``: what one more worker adds, in proportional set size, on a store that all of them scan."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from mixline.node.client import Client
from mixline.tools.bench import report
from mixline.tools.bench_store import sized_store
from mixline.tools.serving import serving


def pss_mb(pid: int) -> float:
    """Proportional set size: private pages, and each shared page divided by those who map it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no Pss line")


def family_mb(store: Path, workers: int) -> float:
    """Sum over all workers, after each has scanned the whole matrix."""
    with tempfile.TemporaryDirectory() as name, serving(store, Path(name), workers) as (endpoint, pids):
        with Client(endpoint) as client:
            client.ask_many([{"surface": "homefeed", "user": at % 1000, "deadline_ms": 20_000} for at in range(200)])
        return sum(pss_mb(pid) for pid in pids)


@click.command()
@click.option("--megabytes", default=1000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def memory(megabytes: int, as_json: bool) -> None:
    """PSS of all workers with 2 and with 6 of them."""
    store = sized_store(megabytes)
    few, many = family_mb(store, 2), family_mb(store, 6)
    figures = {"store_mb": megabytes, "pss_2_workers_mb": round(few, 1), "pss_6_workers_mb": round(many, 1)}
    report({**figures, "further_worker_mb": round((many - few) / 4, 1)}, as_json)
