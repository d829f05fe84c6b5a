"""Where living data lies in a store. Light, for processes that only ask whether there is any."""

from __future__ import annotations

from pathlib import Path

LIVE, LOG, OVERLAY = "live", "log", "overlay"
LOG_DATA = "data.mdb"  # LMDB's name for it
LOG_TABLE = b"log"  # of the tables in there the one with the batches


def log_folder(store: Path) -> Path:
    """The LMDB environment of the log."""
    return store / LIVE / LOG


def log_exists(store: Path) -> bool:
    """Whether anything was ever written to the store while it lived."""
    return (log_folder(store) / LOG_DATA).exists()


def overlay_folder(store: Path, epoch: int) -> Path:
    """What is derived from the log for one epoch."""
    return store / LIVE / OVERLAY / f"{epoch:06d}"
