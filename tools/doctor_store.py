"""The store: whether its active epoch lies in memory, whether the next one finds room, and who holds what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixline.node.warming import HUGE_ENOUGH
from mixline.storage.errors import StorageError
from mixline.storage.live_paths import log_exists
from mixline.storage.manifest import MANIFEST, Manifest, read_manifest
from mixline.storage.publish import EPOCHS, epoch_folder, epoch_numbers
from mixline.storage.store import Store
from mixline.tools.doctor_finding import Case, Check, Finding, State, size
from mixline.tools.doctor_lmdb import read_readers
from mixline.tools.doctor_machine import MIB, Unseen
from mixline.tools.doctor_memory import memory_limit, node_bytes

RESIDENT_OK, RESIDENT_NOTE = 0.99, 0.9
LARGE_BYTES = 32 * MIB
FREE_BYTES_MIN = 64 * MIB
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse", "fuseblk", "virtiofs")
MEMORY = ("tmpfs", "ramfs")
READERS_FREE_MIN = 16
LAG_MAX = 1000


def store_of(case: Case) -> Path:
    if case.store is None:
        raise Unseen("no store given (--store STORE)")
    return case.store


def active(case: Case) -> tuple[Path, Manifest]:
    """Folder and manifest of the active epoch; raises StorageError."""
    store = store_of(case)
    folder = epoch_folder(store, Store(store).current())
    return folder, read_manifest(folder)


def epoch_bytes(manifest: Manifest) -> int:
    return sum(facts.bytes for facts in manifest.files.values())


def quietly(case: Case) -> tuple[Path, Manifest]:
    """The same for the checks that follow ``active epoch``, which says what is wrong."""
    try:
        return active(case)
    except StorageError as error:
        raise Unseen(str(error)) from None


def active_epoch(case: Case) -> Iterator[Finding]:
    try:
        folder, manifest = active(case)
    except StorageError as error:
        mend = f"mixline epoch list {case.store}, then activate one; or mixline build SPEC.toml --out {case.store}"
        yield Finding("active epoch", "bad", str(error), "a node does not start on this store", mend)
        return
    wrong = [name for name, facts in manifest.files.items() if actual_size(folder / name) != facts.bytes]
    total = epoch_bytes(manifest)
    found = f"{manifest.number}: {manifest.items.count} items, {manifest.users.count} users, {size(total)}"
    if wrong:
        costs = "a node refuses it; one that has mapped it dies of SIGBUS"
        mend = f"mixline epoch verify {case.store}; mixline epoch rollback {case.store}"
        yield Finding("active epoch", "bad", f"{found}; not of their size: {', '.join(wrong)}", costs, mend)
        return
    bound, who = memory_limit(case)
    room = bound - node_bytes(case.workers)
    if total > room:
        costs = "requests read from the disk for ever: pages are evicted as fast as they come"
        mend = f"more memory ({who} gives {size(bound)}), fewer --workers, or fewer columns and dimensions in the spec"
        yield Finding("active epoch", "warn", f"{found}, more than the {size(max(0, room))} left for it", costs, mend)
    else:
        yield Finding("active epoch", "ok", found)


def actual_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def residency(case: Case) -> Iterator[Finding]:
    folder, manifest = quietly(case)
    files: list[dict[str, Any]] = []
    for name, facts in manifest.files.items():
        resident = case.machine.resident(folder / name)
        if resident is None:
            raise Unseen(f"{folder / name}: its pages are shown to its owner only; run as the user who built the store")
        files.append({"file": name, "bytes": facts.bytes, "resident": resident / max(1, facts.bytes)})
    yield judge_residency(folder, files)


def judge_residency(folder: Path, files: list[dict[str, Any]]) -> Finding:
    """``files``: maps of file, bytes and resident (a share)."""
    total = sum(each["bytes"] for each in files)
    missing = sum(round(each["bytes"] * (1 - each["resident"])) for each in files)
    share = 1 - missing / max(1, total)
    found = f"{share:.1%} of {size(total)} in {len(files)} files"
    details = tuple(sorted(files, key=lambda each: each["bytes"] * (each["resident"] - 1)))
    if share >= RESIDENT_OK:
        return Finding("residency", "ok", found, details=details)
    state: State = "note" if share >= RESIDENT_NOTE else "warn"
    costs = f"the first touch of {size(missing)} waits for the disk: .1 ms a page on NVMe, 1 ms and more elsewhere"
    coldest = details[0]
    found += f"; coldest: {coldest['file']}, {coldest['resident']:.0%}"
    return Finding("residency", state, found, costs, f"mixline warm {folder.parent.parent}", details)


def page_sizes(case: Case) -> Iterator[Finding]:
    """Of the large files that lie in memory, how much does so in huge pages."""
    folder, manifest = quietly(case)
    large = {name: facts.bytes for name, facts in manifest.files.items() if facts.bytes >= LARGE_BYTES}
    resident = {name: case.machine.resident(folder / name) or 0 for name in large}
    there = {name: many for name, many in large.items() if resident[name] >= RESIDENT_NOTE * many}
    if not there:
        yield Finding("store pages", "ok", f"no file of {size(LARGE_BYTES)} and more lies in memory")
        return
    share = sum(many * case.machine.huge(folder / name) for name, many in there.items()) / sum(there.values())
    found = f"{share:.0%} of {size(sum(there.values()))} in {len(there)} large files are huge ones"
    if share >= HUGE_ENOUGH:
        yield Finding("store pages", "ok", found)
    else:
        costs = "every row that a request looks up is a walk through page tables, a seventh of its time or so"
        mend = f"mixline warm {folder.parent.parent}, or [warm] in NODE.toml, on ext4 (Linux 6.16), XFS or btrfs"
        yield Finding("store pages", "note", found, costs, mend)


def head_room(case: Case) -> Iterator[Finding]:
    store = store_of(case)
    space = case.machine.space(store)
    try:
        needed = epoch_bytes(active(case)[1])
    except StorageError:
        needed = 0
    found = f"{size(space.free)} free of {size(space.total)}; an epoch takes {size(needed)}"
    mend = f"mixline epoch prune {store} --keep 2, or a larger file system"
    if space.free < FREE_BYTES_MIN or space.inodes_free == 0:
        costs = "the next build or activation fails; what is served stays whole"
        yield Finding("disk head-room", "bad", found, costs, mend)
    elif space.free < needed:
        yield Finding("disk head-room", "warn", found, "the next build of this size fails for want of room", mend)
    else:
        yield Finding("disk head-room", "ok", found)


def file_system(case: Case) -> Iterator[Finding]:
    """The longest mount point that the store lies under decides; octal escapes are left as they are."""
    store = str(store_of(case).resolve())
    best, kind = "", "unknown"
    for line in case.machine.text("/proc/self/mounts").splitlines():
        _, point, found_kind, *_ = line.split()
        under = store == point or store.startswith(point.rstrip("/") + "/")
        if under and len(point) >= len(best):
            best, kind = point, found_kind
    if kind.split(".")[0] in NETWORK:
        costs = "a server that goes away stops or kills every worker (SIGBUS); LMDB does not work on it reliably"
        yield Finding(
            "file system", "warn", f"{kind} at {best}", costs, "copy the store to a local disk, and serve that"
        )
    elif kind in MEMORY and log_exists(store_of(case)):
        costs = "when it is full, looking where nothing was written yet takes memory that is not there (SIGBUS)"
        yield Finding("file system", "warn", f"{kind} at {best}, with living data", costs, "keep it on a disk")
    else:
        yield Finding("file system", "ok", f"{kind} at {best}")


def leases(case: Case) -> Iterator[Finding]:
    """Shared locks on the manifests, as the kernel lists them; epochs are opened without LMDB's reader table."""
    store = store_of(case)
    held: dict[int, int] = {}
    for line in case.machine.text("/proc/locks").splitlines():
        fields = line.replace(" -> ", " ").split()
        if fields[1] == "FLOCK":
            inode = int(fields[5].split(":")[2])
            held[inode] = held.get(inode, 0) + 1
    readers = {}
    for number in epoch_numbers(store):
        try:
            readers[number] = held.get((epoch_folder(store, number) / MANIFEST).stat().st_ino, 0)
        except OSError:
            continue  # pruned meanwhile
    try:
        current = Store(store).current()
    except StorageError:
        current = -1
    found = f"active: {readers.get(current, 0)} processes; " + "older: "
    older = {number: count for number, count in readers.items() if number != current and count}
    found += ", ".join(f"epoch {number}: {count}" for number, count in older.items()) or "none held"
    if older:
        costs = "these epochs are not pruned and keep their memory: a node serves an epoch that is not the active one"
        mend = "kill -HUP the supervisor (systemctl reload mixline) to move it to the active epoch"
        yield Finding("epoch readers", "note", found, costs, mend)
    else:
        yield Finding("epoch readers", "ok", found)


def live_readers(case: Case) -> Iterator[Finding]:
    store = store_of(case)
    files = sorted((store / "live").rglob("lock.mdb"))
    if not files:
        yield Finding("LMDB readers", "ok", "no live environment; epochs are opened without a reader table")
    for path in files:
        table = read_readers(path)
        gone = sorted({each.pid for each in table.readers if not case.machine.path(f"/proc/{each.pid}").exists()})
        lag = max((each.lag for each in table.readers if each.lag is not None), default=0)
        found = f"{path.parent.name}: {len(table.readers)} of {table.slots} slots used, oldest snapshot {lag} behind"
        if gone:
            costs = (
                "their slots stay taken and their snapshots keep freed pages: the environment grows until it is full"
            )
            mend = f"restart the writer, or: python -c \"import lmdb; lmdb.open('{path.parent}').reader_check()\""
            yield Finding(
                "LMDB readers", "warn", f"{found}; of dead processes: {', '.join(map(str, gone))}", costs, mend
            )
        elif table.slots - len(table.readers) < READERS_FREE_MIN:
            costs = "further readers are refused (MDB_READERS_FULL)"
            yield Finding("LMDB readers", "warn", found, costs, "open the environment with max_readers=1024 or more")
        elif lag > LAG_MAX:
            costs = "pages freed since then are not used again: the environment grows"
            yield Finding("LMDB readers", "warn", found, costs, "restart the reader with the oldest snapshot")
        else:
            yield Finding("LMDB readers", "ok", found)


def stray_locks(case: Case) -> Iterator[Finding]:
    strays = [path for path in (store_of(case) / EPOCHS).rglob("*lock*") if re.search(r"lock\.mdb$|-lock$", path.name)]
    if strays:
        costs = "somebody opened records of an epoch with locking; mixline does not, and epochs are immutable"
        mend = f"open them with readonly=True, lock=False; rm {' '.join(map(str, strays))}"
        yield Finding("stray lock files", "note", ", ".join(map(str, strays)), costs, mend)


CHECKS: tuple[tuple[str, Check], ...] = (
    ("active epoch", active_epoch),
    ("residency", residency),
    ("store pages", page_sizes),
    ("disk head-room", head_room),
    ("file system", file_system),
    ("epoch readers", leases),
    ("LMDB readers", live_readers),
    ("stray lock files", stray_locks),
)
