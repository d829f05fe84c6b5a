"""Where living data lies in a store. Light, for processes that only ask whether there is any."""

from __future__ import annotations

import re
import struct
from pathlib import Path

LIVE, LOG, OVERLAY = "live", "log", "overlay"
STATE_FIELDS = 16  # of each of the two states in an overlay's page, behind two words (storage/live_index.pyx)
STATE_WORDS = 2 + 2 * STATE_FIELDS
LOG_DATA = "data.mdb"  # LMDB's name for it
MAP_STEP = 1 << 30
ROOM_BYTES = 1 << 16  # files of an overlay take room in steps of this
LOG_TABLE = b"log"  # of the tables in there the one with the batches


def log_folder(store: Path) -> Path:
    """The LMDB environment of the log."""
    return store / LIVE / LOG


def log_exists(store: Path) -> bool:
    """Whether anything was ever written to the store while it lived."""
    return (log_folder(store) / LOG_DATA).exists()


def pending_operations(store: Path) -> int:
    """How many operations the active epoch does not contain, by the page that its writer publishes; 0 when there is no
    telling."""
    try:
        number = int((store / "CURRENT").read_text("ascii"))
        manifest = (store / "epochs" / f"{number:06d}" / "manifest.json").read_bytes()
        page = (overlay_folder(store, number) / "state").read_bytes()
        words = struct.unpack_from(f"<{STATE_WORDS}Q", page)
    except (OSError, ValueError, struct.error):
        return 0
    found = re.search(rb'"live_seq": (\d+)', manifest)
    reached = words[2 + (words[0] & 1) * STATE_FIELDS]
    return max(0, reached - int(found[1])) if found else 0


def map_bytes(store: Path) -> int:
    """Address space for the log: twice its file and at least 1 GiB, so that it may grow while it is opened."""
    try:
        size = (log_folder(store) / LOG_DATA).stat().st_size
    except FileNotFoundError:
        size = 0
    return -(-max(1, 2 * size) // MAP_STEP) * MAP_STEP


def unverified_mark(store: Path) -> Path:
    """Is there after an I/O error of the log, until the log has been read whole."""
    return store / LIVE / "UNVERIFIED"


def forgotten_file(store: Path, epoch: int) -> Path:
    """Rows (uint32) of an epoch's users that were forgotten since it was built."""
    return store / LIVE / "forgotten" / f"{epoch:06d}"


def overlay_folder(store: Path, epoch: int) -> Path:
    """What is derived from the log for one epoch."""
    return store / LIVE / OVERLAY / f"{epoch:06d}"
