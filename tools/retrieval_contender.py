"""What ``mixline bench retrieval`` asks in turn, and the cache of what took long to build."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from mixline.tools.bench_store import cache_folder
from mixline.tools.retrieval_data import DataSet

Search = Callable[[np.ndarray, int], list[np.ndarray]]
"""(queries (batch, dim), width) -> rows found for each."""


class Contender(NamedTuple):
    """``widths`` rise; exact contenders have one, 0. ``ours``: not a peer. ``exact``: by design, not by width."""

    name: str
    widths: list[int]
    search: Search
    ours: bool = False
    exact: bool = False


class Task(NamedTuple):
    """What all contenders are asked: the best ``k`` rows, of those ``allowed`` (a bool for each row), or of all; and
    who is asked: ``only`` those named, where some are, ``without`` others."""

    data: DataSet
    k: int
    batch: int
    allowed: np.ndarray | None
    threads: int
    rebuild: bool
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        """Whether this contender is to be asked: who is not needs no index."""
        return name not in self.without and (not self.only or name in self.only)


class Built(msgspec.Struct):
    """How long a build took, by the clock and of all its threads; the second is what other work disturbs less."""

    seconds: float
    cpu_seconds: float
    threads: int


def cached(
    task: Task, name: str, build: Callable[[Path], None], *, part: str = "index", begins: bool = True
) -> tuple[Path, Built]:
    """The folder of ``name`` with the ``part`` that ``build`` wrote: now, when it was not written yet, or when
    ``task.rebuild`` says so. A part that ``begins`` a folder empties it. A name holds a version.
    """
    folder = cache_folder() / "retrieval" / task.data.key / name
    told = folder / f"{part}.built.json"
    if told.exists() and not task.rebuild:
        return folder, msgspec.json.decode(told.read_bytes(), type=Built)
    if begins:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    started, spent = time.perf_counter(), time.process_time()
    build(folder)
    built = Built(round(time.perf_counter() - started, 2), round(time.process_time() - spent, 2), task.threads)
    told.write_bytes(msgspec.json.encode(built))
    return folder, built
