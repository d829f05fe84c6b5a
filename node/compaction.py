"""Compaction: what was written since the active epoch was built, folded with it into a new one, while a node serves."""

from __future__ import annotations

from pathlib import Path

from mixline.node.build_kernels import build_kernels
from mixline.storage.builder import Builder
from mixline.storage.live_paths import log_exists
from mixline.storage.live_source import LiveSource
from mixline.storage.manifest import Manifest
from mixline.storage.progress import Progress, Silence

MEMORY_BYTES = 1 << 62  # no bound: a fold learns nothing, and links again what a build was allowed to


def compact(store: str | Path, progress: Progress | None = None, *, activate: bool = True) -> Manifest | None:
    """Fold, publish and activate; None when nothing was written since the active epoch was built.

    On any error, and after a crash at any point, the store is as before or has the new epoch whole.
    """
    where = Path(store)
    if not log_exists(where):
        return None
    with LiveSource(where) as source:
        if not source.pending:
            return None
        builder = Builder(source, where, build_kernels(), MEMORY_BYTES, progress or Silence())
        return builder.build(activate=activate)
