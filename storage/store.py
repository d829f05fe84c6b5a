"""A store: a folder of epochs, the name of the active one, and what managing them means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from mixline.storage.digests import Advance, check_whole, faults_of
from mixline.storage.epoch import Epoch
from mixline.storage.errors import StorageError, StoreDamaged, StoreMissing
from mixline.storage.live_paths import forgotten_file, overlay_folder
from mixline.storage.lock import StoreLock, try_evict
from mixline.storage.manifest import FORMAT, MANIFEST, read_manifest
from mixline.storage.publish import (
    EPOCHS,
    PRUNING,
    epoch_folder,
    epoch_numbers,
    read_current,
    sweep,
    sync,
    write_current,
)
from mixline.storage.self_test import self_test


class EpochInfo(NamedTuple):
    """One line of ``mixline epoch list``; ``published`` is the folder's time in seconds since 1970."""

    number: int
    active: bool
    items: int
    users: int
    events: int
    spaces: list[str]
    bytes: int
    published: int
    format: int
    fault: str | None


class Pruned(NamedTuple):
    """Epochs removed, and epochs kept only because a reader holds them."""

    removed: list[int]
    in_use: list[int]


class Store:
    """A handle on ``path``; it holds nothing open itself."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def current(self) -> int:
        """The active epoch's number; :class:`StoreMissing` when there is none."""
        number = read_current(self.path)
        if number is None:
            raise StoreMissing(f"{self.path}: no active epoch; run mixline build SPEC.toml --out {self.path}")
        return number

    def open(self, number: int | None = None, *, grows: bool = False) -> Epoch:
        """Open an epoch, the active one unless told otherwise; with ``grows``, for rows that come later too."""
        if number is not None:
            return Epoch(epoch_folder(self.path, number), grows=grows)
        active = self.current()
        try:
            return Epoch(epoch_folder(self.path, active), grows=grows)
        except StoreMissing:
            # Activation and pruning may have happened between reading CURRENT and leasing the epoch.
            again = self.current()
            if again == active:
                raise
            return Epoch(epoch_folder(self.path, again), grows=grows)

    def epochs(self) -> list[EpochInfo]:
        """All published epochs, oldest first."""
        active = read_current(self.path)
        return [self._info(number, number == active) for number in epoch_numbers(self.path)]

    def _info(self, number: int, active: bool) -> EpochInfo:
        folder = epoch_folder(self.path, number)
        published = int((folder / MANIFEST).stat().st_mtime) if (folder / MANIFEST).exists() else 0
        try:
            found = read_manifest(folder)
        except StorageError as error:
            return EpochInfo(number, active, 0, 0, 0, [], 0, published, 0, str(error))
        return EpochInfo(
            number=number,
            active=active,
            items=found.items.count,
            users=found.users.count,
            events=found.events.count if found.events else 0,
            spaces=sorted(found.spaces),
            bytes=sum(facts.bytes for facts in found.files.values()),
            published=published,
            format=FORMAT,
            fault=None,
        )

    def in_use(self) -> list[int]:
        """Epochs that somebody holds a lease on, ascending."""
        found = []
        for number in epoch_numbers(self.path):
            held = try_evict(epoch_folder(self.path, number))
            if held is None:
                found.append(number)
            else:
                os.close(held)
        return found

    def verify(self, number: int | None = None, advance: Advance = lambda _: None) -> list[str]:
        """All differences between an epoch (the active one by default) and its digests; empty when whole."""
        return faults_of(self._folder(self.current() if number is None else number), advance)

    def activate(self, number: int, advance: Advance = lambda _: None) -> None:
        """Make ``number`` the active epoch after reading all of it against its digests, and a self-test."""
        folder = self._folder(number)
        with StoreLock(self.path, f"mixline epoch activate {number}"):
            check_whole(folder, advance)
            self_test(folder)
            write_current(self.path, number)

    def fall_back(self, bad: int, served: int = 0) -> int:
        """Make another epoch active than ``bad``: ``served`` if it is whole, or the newest older one that is.

        Returns what is active afterwards; it is left alone when it is no longer ``bad``. Raises :class:`StoreDamaged`.
        """
        with StoreLock(self.path, f"a node falling back from epoch {bad}"):
            active = read_current(self.path)
            if active is not None and active != bad:
                return active
            older = [number for number in reversed(epoch_numbers(self.path)) if number < bad and number != served]
            tried = ([served] if served and served != bad else []) + older
            for number in tried:
                folder = epoch_folder(self.path, number)
                try:
                    check_whole(folder)
                    self_test(folder)
                    write_current(self.path, number)
                    return number
                except StorageError:
                    continue  # verify says what is wrong with it
        listed = ", ".join(map(str, tried)) or "none"
        raise StoreDamaged(f"{self.path}: epoch {bad} cannot be served, and no other is whole (tried: {listed})")

    def rollback(self, advance: Advance = lambda _: None) -> int:
        """Activate the newest epoch older than the active one; returns its number."""
        active = self.current()
        older = [number for number in epoch_numbers(self.path) if number < active]
        if not older:
            raise StoreMissing(f"{self.path}: no epoch older than the active one ({active}) to roll back to")
        self.activate(older[-1], advance)
        return older[-1]

    def prune(self, keep: int) -> Pruned:
        """Remove all but the ``keep`` newest epochs, the active one, and those that a reader holds.

        The newest epoch always stays, so that a number is never given twice.
        """
        if keep < 1:
            raise ValueError("keep must be at least 1")
        with StoreLock(self.path, f"mixline epoch prune --keep {keep}"):
            sweep(self.path)
            active = read_current(self.path)
            done = Pruned([], [])
            for number in epoch_numbers(self.path)[:-keep]:
                if number == active:
                    continue
                kept = not self.remove(epoch_folder(self.path, number))
                (done.in_use if kept else done.removed).append(number)
            return done

    def remove(self, folder: Path) -> bool:
        """Remove an epoch and what is derived for it, unless a reader holds it. The caller holds the store's lock."""
        held = try_evict(folder)
        if held is None:
            return False
        doomed = folder.parent / f"{PRUNING}{folder.name}"
        folder.rename(doomed)
        os.close(held)
        sync(self.path / EPOCHS)
        shutil.rmtree(doomed)
        shutil.rmtree(overlay_folder(self.path, int(folder.name)), ignore_errors=True)  # derived, and nobody's any more
        forgotten_file(self.path, int(folder.name)).unlink(missing_ok=True)
        return True

    def _folder(self, number: int) -> Path:
        folder = epoch_folder(self.path, number)
        if not folder.is_dir():
            known = ", ".join(str(one) for one in epoch_numbers(self.path)) or "none"
            raise StoreMissing(f"{self.path}: there is no epoch {number}; there are: {known}")
        return folder
