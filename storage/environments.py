"""One LMDB environment per epoch and process, shared by all that open the epoch there.

LMDB forbids opening an environment twice in one process, yet two nodes in one notebook, or a test beside the engine
it judges, are ordinary. So handles count, and the last one closes.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import lmdb


class Shared(NamedTuple):
    """An open environment, its named tables, and the key under which it is counted."""

    environment: lmdb.Environment
    tables: dict[str, Any]
    key: tuple[int, int, int]


_lock = threading.Lock()
_open: dict[tuple[int, int, int], tuple[Shared, int]] = {}


def open_shared(path: Path, tables: tuple[str, ...]) -> Shared:
    """Open ``path`` read-only and lock-free, or join those who have; pairs with :func:`close_shared`.

    The key holds the pid, so a child after a fork opens its own. Raises ``lmdb.Error``.
    """
    facts = path.stat()
    key = (os.getpid(), facts.st_dev, facts.st_ino)
    with _lock:
        if key in _open:
            shared, count = _open[key]
            _open[key] = (shared, count + 1)
            return shared
        environment = lmdb.open(
            str(path), readonly=True, lock=False, create=False, max_dbs=len(tables), readahead=False
        )
        try:
            shared = Shared(
                environment, {name: environment.open_db(name.encode(), create=False) for name in tables}, key
            )
        except BaseException:
            environment.close()
            raise
        _open[key] = (shared, 1)
        return shared


def close_shared(shared: Shared) -> None:
    """Let go; the last one closes the environment."""
    with _lock:
        _, count = _open[shared.key]
        if count > 1:
            _open[shared.key] = (shared, count - 1)
            return
        del _open[shared.key]
        shared.environment.close()
