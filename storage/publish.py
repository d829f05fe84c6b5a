"""How an epoch, and the name of the active one, come to be seen: by rename, and in no other way.

Everything is on the disk before it has a name, so that a crash at any point leaves the old state or the new one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mixline.storage.digests import Advance, facts_of, files_of, seal_of
from mixline.storage.errors import StoreDamaged, StoreMissing
from mixline.storage.manifest import MANIFEST, SEAL, FileFacts, Manifest, encode_manifest

CURRENT = "CURRENT"
EPOCHS = "epochs"
BUILDING = ".building-"
PRUNING = ".pruning-"
RESTORING = ".restoring"  # a folder of a restore that is on its way
MOVING = "moving"  # in it, while what was verified gets its names: "EPOCH WITH_LOG"


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def epoch_folder(store: Path, number: int) -> Path:
    return store / EPOCHS / f"{number:06d}"


def epoch_numbers(store: Path) -> list[int]:
    """Numbers of the published epochs, ascending."""
    try:
        names = [path.name for path in (store / EPOCHS).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdecimal() and len(name) >= 6)


def read_current(store: Path) -> int | None:
    """The active epoch's number, or None when no epoch was ever activated."""
    path = store / CURRENT
    try:
        text = path.read_text("ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise StoreDamaged(f"{path}: holds {text[:40]!r} instead of an epoch's number; run mixline epoch activate")
    return int(text)


def write_current(store: Path, number: int) -> None:
    """Make ``number`` the active epoch. The caller holds the store's lock and has checked the digests."""
    if not (epoch_folder(store, number) / MANIFEST).exists():
        raise StoreMissing(f"{store}: there is no epoch {number}; mixline epoch list shows what there is")
    fresh = store / f".{CURRENT}.new"
    with fresh.open("w", encoding="ascii") as file:
        file.write(f"{number:06d}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(store / CURRENT)
    sync(store)


def measure(folder: Path, advance: Advance) -> dict[str, FileFacts]:
    """Size and digest of every file of a finished build."""
    found = {}
    for name in files_of(folder):
        found[name] = facts_of(folder / name)
        advance(found[name].bytes)
    return found


def publish(store: Path, folder: Path, manifest: Manifest) -> Path:
    """Give the finished ``folder`` its number: manifest, fsync of all, 0444, rename. Returns the epoch's folder."""
    raw = encode_manifest(manifest)
    (folder / MANIFEST).write_bytes(raw)
    (folder / SEAL).write_bytes(seal_of(raw))
    folders = [folder]
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            folders.append(path)
            continue
        path.chmod(0o444)
        sync(path)
    for path in reversed(folders):
        sync(path)
    final = epoch_folder(store, manifest.number)
    folder.rename(final)
    sync(final.parent)
    return final


def sweep(store: Path) -> list[str]:
    """Remove what killed builders and pruners left. The caller holds the store's lock."""
    removed = []
    for path in sorted((store / EPOCHS).glob(".*")):
        if path.name.startswith((BUILDING, PRUNING)):
            shutil.rmtree(path)
            removed.append(path.name)
    clear_restore(store)
    return removed


def clear_restore(store: Path) -> None:
    """Remove what is left of a restore, and what it had named before it was killed short of CURRENT.

    Without CURRENT nobody serves or writes here, so the log and the epoch are the restore's own. The caller holds the
    store's lock.
    """
    folder = store / RESTORING
    if not folder.is_dir():
        return
    if (folder / MOVING).exists() and read_current(store) is None:
        words = (folder / MOVING).read_text("ascii").split()
        if len(words) == 2:  # else it was killed before it was synced, so nothing has been named
            if words[1] == "1":
                shutil.rmtree(store / "live" / "log", ignore_errors=True)
            named = epoch_folder(store, int(words[0]))
            if named.is_dir():
                doomed = named.parent / f"{PRUNING}{named.name}"
                named.rename(doomed)
                shutil.rmtree(doomed)
    shutil.rmtree(folder)
