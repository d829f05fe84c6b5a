"""``mixline snapshot``: take, list, verify, restore and prune snapshots of a store, in a folder or as one stream."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from mixline.storage.digests import Advance
from mixline.storage.errors import SnapshotDamaged, SnapshotMissing
from mixline.storage.snapshot_manifest import SNAPSHOT, read_snapshot
from mixline.storage.snapshots import SNAPSHOTS, Held, Snapshots, unwritable, write_stream
from mixline.tools.build import parse_bytes
from mixline.tools.epoch import JSON, SHOWN_BYTES, STORE, tell
from mixline.tools.progress import progress_on_stderr

NUMBER = click.argument("number", type=click.IntRange(min=1), required=False)
FROM = click.option(
    "--from",
    "source",
    metavar="WHERE",
    help=f"A folder of snapshots, another store, one snapshot, a .tar, or - for stdin. Default: STORE/{SNAPSHOTS}.",
)
FOLDER = click.option(
    "--from", "source", metavar="FOLDER", help=f"A folder of snapshots, or another store. Default: STORE/{SNAPSHOTS}."
)


@contextmanager
def shown(name: str, size: int, quiet: bool) -> Iterator[Advance]:
    """Progress over bytes, on stderr; silent for JSON and for what takes no time."""
    if quiet or size < SHOWN_BYTES:
        yield lambda _: None
        return
    progress = progress_on_stderr()
    progress.phase(name, size)
    try:
        yield progress.advance
    finally:
        progress.close()


def folder_of(store: Path, source: str | None) -> Snapshots:
    """The folder of snapshots that is meant."""
    if source is None:
        return Snapshots.of(store)
    inside = Path(source) / SNAPSHOTS
    return Snapshots(inside if inside.is_dir() else Path(source))


def is_stream(where: str | None) -> bool:
    return where is not None and (where == "-" or where.endswith(".tar"))


@contextmanager
def opened(where: str) -> Iterator[BinaryIO]:
    """A stream to read."""
    if where == "-":
        yield sys.stdin.buffer
        return
    path = Path(where)
    if not path.is_file():
        raise SnapshotMissing(f"{where}: no such file")
    with path.open("rb") as file:
        yield file


def size_of(where: str) -> int:
    """Bytes of a stream; 0 where that is not known, and nothing is shown."""
    return Path(where).stat().st_size if where != "-" else 0


def paced(advance: Advance, bytes_per_s: int) -> Advance:
    """The same, but waits so that no more than so many bytes a second are told of; 0: as fast as it goes."""
    if not bytes_per_s:
        return advance
    started_s, done = time.monotonic(), 0

    def wait(count: int) -> None:
        nonlocal done
        done += count
        advance(count)
        time.sleep(max(0.0, done / bytes_per_s - (time.monotonic() - started_s)))

    return wait


@click.group()
def snapshot() -> None:
    """Take, list, verify, restore and prune snapshots: an epoch with its log."""


@snapshot.command()
@STORE
@click.option("--out", metavar="WHERE", help=f"A folder of snapshots, NAME.tar, or -. Default: STORE/{SNAPSHOTS}.")
@click.option("--epoch", type=click.IntRange(min=1), help="Which epoch; the active one by default.")
@click.option(
    "--pace",
    default="32MiB",
    show_default=True,
    callback=parse_bytes,
    help="Bytes read per second; 0: no limit.",
)
@JSON
def create(store: Path, out: str | None, epoch: int | None, pace: int, as_json: bool) -> None:
    """Take a snapshot while a node serves."""
    with Held(store, epoch) as held:
        size, number = held.bytes, held.epoch
        with shown(f"snapshot of epoch {number}", size, as_json) as told:
            advance = paced(told, pace)
            if is_stream(out):
                assert out is not None
                stream(store, out, number, advance, as_json)
                return
            where = folder_of(store, None) if out is None else Snapshots(out)
            done = where.create(store, number, advance)
    kept = f"{done.linked:,} linked, {done.cloned:,} cloned, {done.copied:,} copied"
    plain = f"snapshot {done.number}: epoch {done.epoch}, log to {done.log_seq}, {done.bytes:,} bytes ({kept})"
    tell({"snapshot": done.number, "folder": str(where.path(done.number)), **done._asdict()}, as_json, plain)


def stream(store: Path, out: str, number: int, advance: Advance, as_json: bool) -> None:
    """To stdout, or to a file that gets its name when it is whole."""
    if out == "-":
        write_stream(store, sys.stdout.buffer, number, advance)
        return
    target = Path(out)
    part = target.with_name(f".{target.name}.part")
    with unwritable(target):
        try:
            with part.open("wb") as file:
                done = write_stream(store, file, number, advance)
                file.flush()
                os.fsync(file.fileno())
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
    facts = {"file": out, "epoch": done.epoch, "log_seq": done.log_seq, "bytes": target.stat().st_size}
    tell(facts, as_json, f"{out}: epoch {done.epoch}, log to {done.log_seq}, {facts['bytes']:,} bytes")


@snapshot.command("list")
@STORE
@FOLDER
@JSON
def list_snapshots(store: Path, source: str | None, as_json: bool) -> None:
    """All snapshots, oldest first."""
    found = folder_of(store, source).infos()
    lines = []
    for one in found:
        when = datetime.datetime.fromtimestamp(one.taken, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        facts = f"epoch {one.epoch}  log to {one.log_seq:,}  {one.files:,} files  {one.bytes:,} bytes"
        lines.append(f"{one.number:6d}  {when}  {one.fault or facts}")
    tell([one._asdict() for one in found], as_json, "\n".join(lines) or "no snapshots")


@snapshot.command()
@STORE
@NUMBER
@FROM
@JSON
def verify(store: Path, number: int | None, source: str | None, as_json: bool) -> None:
    """Read all of a snapshot (the newest by default) against its digests; ends with 65 and names what differs."""
    if is_stream(source):
        assert source is not None
        from mixline.storage.snapshot_stream import stream_faults

        with opened(source) as file, shown("reading the snapshot", size_of(source), as_json) as advance:
            faults = stream_faults(file, source, advance)[1]
        name = source
    else:
        where, number = placed(store, number, source)
        path = where.path(number)
        name = str(path)
        size = sum(each.lstat().st_size for each in path.rglob("*"))
        with shown("reading the snapshot", size, as_json) as advance:
            faults = where.verify(number, advance)
    tell({"snapshot": name, "faults": faults}, as_json, f"{name}: whole" if not faults else "\n".join(faults))
    if faults:
        sys.exit(SnapshotDamaged.exit_code)


def placed(store: Path, number: int | None, source: str | None) -> tuple[Snapshots, int | None]:
    """Folder of snapshots and number, where ``source`` may be one snapshot's own folder."""
    path = Path(source) if source is not None else None
    if path is not None and (path / SNAPSHOT).exists() and path.resolve().name.isdecimal():
        return Snapshots(path.resolve().parent), int(path.resolve().name)
    return folder_of(store, source), number


@snapshot.command()
@STORE
@NUMBER
@FROM
@click.option("--epoch-only", is_flag=True, help="Leave the snapshot's log out; a store's own log is kept.")
@click.option("--no-activate", is_flag=True, help="Leave the active epoch as it is.")
@JSON
def restore(
    store: Path, number: int | None, source: str | None, epoch_only: bool, no_activate: bool, as_json: bool
) -> None:
    """Restore a snapshot (the newest by default) into STORE: a new or empty folder, or a store without that epoch."""
    from mixline.storage.restore import restore as from_folder
    from mixline.storage.restore import restore_stream

    if is_stream(source):
        assert source is not None
        with opened(source) as file, shown("restoring", size_of(source), as_json) as advance:
            done = restore_stream(file, source, store, activate=not no_activate, epoch_only=epoch_only, advance=advance)
    else:
        where, number = placed(store, number, source)
        path = where.path(number)
        with shown("restoring", read_snapshot(path).total_bytes, as_json) as advance:
            done = from_folder(path, store, activate=not no_activate, epoch_only=epoch_only, advance=advance)
    log = f", log to {done.log_seq}" if done.log else ""
    state = "is active" if done.active else "restored, not activated"
    tell({"store": str(store), **done._asdict()}, as_json, f"{store}: epoch {done.epoch}{log} {state}")


@snapshot.command()
@STORE
@FOLDER
@click.option("--keep", required=True, type=click.IntRange(min=1), help="How many of the newest snapshots stay.")
@JSON
def prune(store: Path, source: str | None, keep: int, as_json: bool) -> None:
    """Remove old snapshots; those that are being read stay, and so does what others share with them."""
    done = folder_of(store, source).prune(keep)
    removed = ", ".join(map(str, done.removed)) or "none"
    in_use = f"; in use and kept: {', '.join(map(str, done.in_use))}" if done.in_use else ""
    tell(done._asdict(), as_json, f"removed: {removed}{in_use}")
