"""``mixline bench pages``: what a request costs where the store lies in huge pages, and where in small ones.

Two copies of one store, one read 4 KiB at a time and one as a node with ``[warm]`` reads it, are asked the same in turn
in one process: CPU time of the engine, medians over the rounds.
"""

from __future__ import annotations

import mmap
import os
import shutil
import statistics
from functools import partial
from pathlib import Path

import click

from mixline.ipc.residency import huge_share
from mixline.node.warming import warm
from mixline.storage.store import Store
from mixline.tools.asking import Asking, in_rounds
from mixline.tools.bench import report
from mixline.tools.bench_warm import cool, files_of, warm_data
from mixline.tools.serving_data import SURFACES

TOGETHER = 4  # requests that a worker is given at once
ASKED = 2000  # in a round
MOSTLY = 0.9


def in_small_pages(path: Path) -> None:
    """Into memory, where none of it is, by somebody who says that he reads anywhere, for whom nothing is read ahead."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        while file.read(mmap.PAGESIZE):
            pass


def lay_out(small: Path, huge: Path) -> None:
    """Both stores into memory, in their pages; ClickException where the system does not have it so."""
    for store in (small, huge):
        cool(files_of(store))
    for path in files_of(small):
        in_small_pages(path)
    with Store(huge).open() as epoch:
        list(warm(epoch))
    lies = {store: huge_share(max(files_of(store), key=lambda path: path.stat().st_size)) for store in (small, huge)}
    if lies[small] > 1 - MOSTLY or lies[huge] < MOSTLY:
        told = f"{lies[small]:.0%} of {small} and {lies[huge]:.0%} of {huge}"
        raise click.ClickException(f"{told} lie in huge pages: this system does not have them, or not small ones")


def copied(store: Path) -> Path:
    """The same store in files of its own."""
    other = store.with_name("store_again")
    if not other.exists():
        shutil.copytree(store, other.with_suffix(".part"), symlinks=True)
        os.sync()  # what is not on the disk yet cannot be dropped
        other.with_suffix(".part").rename(other)
    return other


@click.command("pages")
@click.option("--items", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--surface", default="approximate", show_default=True, type=click.Choice(sorted(SURFACES)))
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1, 100))
@click.option("--json", "as_json", is_flag=True)
def pages(items: int, surface: str, rounds: int, as_json: bool) -> None:
    """CPU time of a request on a store in huge pages against the same in small ones."""
    data = warm_data(items)
    stores = {"small": data / "store", "huge": copied(data / "store")}
    lay_out(*stores.values())
    asking = {name: Asking(store, data / "node.toml", surface) for name, store in stores.items()}
    us = in_rounds({name: partial(one.ask, ASKED, TOGETHER) for name, one in asking.items()}, rounds)
    ratios = [small / huge for small, huge in zip(*us.values(), strict=True)]
    result = {
        "items": items,
        "surface": surface,
        **{f"{name}_us": round(statistics.median(found), 1) for name, found in us.items()},
        "small_to_huge": round(statistics.median(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
    }
    for one in asking.values():
        one.engine.close()
    report(result, as_json)
