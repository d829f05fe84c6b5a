"""Which files of a store still hold some bytes."""

import os


def files_with(store, marks):
    """Files of the store that hold one of some bytes; holes are not read."""
    found = set()
    for path in store.rglob("*"):
        if not path.is_file() or "snapshots" in path.parts:
            continue
        with path.open("rb") as file:
            at, size = 0, path.stat().st_size
            while at < size:
                try:
                    start = os.lseek(file.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                raw = os.pread(file.fileno(), at - start, start)
                if any(mark in raw for mark in marks):
                    found.add(str(path.relative_to(store)))
    return found
