"""``mixline epoch``: look at the epochs of a store and say which one is served."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from mixline.storage.digests import Advance
from mixline.storage.errors import StoreDamaged
from mixline.storage.live_paths import log_exists
from mixline.storage.publish import epoch_folder
from mixline.storage.store import Store
from mixline.tools.progress import progress_on_stderr

STORE = click.argument("store", type=click.Path(path_type=Path, file_okay=False))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
NUMBER = click.option("--epoch", "number", type=click.IntRange(min=1), help="Which epoch; the active one by default.")
SHOWN_BYTES = 1 << 30  # about a second of SHA-256


@contextmanager
def digests_shown(store: Store, number: int, as_json: bool) -> Iterator[Advance]:
    """Progress over the bytes of an epoch, on stderr; silent for JSON and for epochs that take no time to read."""
    size = sum(path.stat().st_size for path in epoch_folder(store.path, number).rglob("*"))
    if as_json or size < SHOWN_BYTES:
        yield lambda _: None
        return
    progress = progress_on_stderr()
    progress.phase(f"reading epoch {number}", size)
    try:
        yield progress.advance
    finally:
        progress.close()


def tell(facts: object, as_json: bool, plain: str) -> None:
    click.echo(msgspec.json.encode(facts).decode() if as_json else plain)


@click.group()
def epoch() -> None:
    """Fold, list, verify, activate, roll back, prune and dump the epochs of a store."""


@epoch.command()
@STORE
@click.option("--from-live", is_flag=True, required=True, help="From the active epoch and what was written since.")
@click.option("--no-activate", is_flag=True, help="Publish the epoch and leave the active one as it is.")
@JSON
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def build(store: Path, from_live: bool, no_activate: bool, as_json: bool, quiet: bool) -> None:
    """Fold what was written into a new epoch, publish and activate it; a node serves meanwhile, and takes it on SIGHUP.

    Epochs from files are made by mixline build.
    """
    from mixline.node.compaction import compact
    from mixline.tools.build import tell_built

    os.nice(19)  # whoever serves goes first
    started_s = time.monotonic()
    shown = None if quiet or as_json else progress_on_stderr()
    try:
        manifest = compact(store, shown, activate=not no_activate)
    finally:
        if shown is not None:
            shown.close()
    if manifest is not None:
        tell_built(store, manifest, not no_activate, time.monotonic() - started_s, as_json, quiet)
    elif not quiet:
        number = Store(store).current()
        facts = {"store": str(store), "epoch": None, "active": number}
        tell(facts, as_json, f"nothing was written since epoch {number} was built; no new one was made")


@epoch.command("list")
@STORE
@JSON
def list_epochs(store: Path, as_json: bool) -> None:
    """All published epochs, oldest first; * marks the active one."""
    found = Store(store).epochs()
    lines = []
    for one in found:
        when = datetime.datetime.fromtimestamp(one.published, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        facts = f"{one.items:,} items  {one.users:,} users  {one.events:,} events  {one.bytes:,} bytes"
        lines.append(f"{'*' if one.active else ' '} {one.number:6d}  {when}  {one.fault or facts}")
    tell([one._asdict() for one in found], as_json, "\n".join(lines) or "no epochs")


@epoch.command()
@STORE
@NUMBER
@JSON
def verify(store: Path, number: int | None, as_json: bool) -> None:
    """Compare every file of an epoch with its digest, and read the log of what came since; ends with 65 and names what
    differs."""
    where = Store(store)
    number = where.current() if number is None else number
    with digests_shown(where, number, as_json) as advance:
        faults = where.verify(number, advance)
    from mixline.storage.log_check import log_faults

    faults += log_faults(store)
    whole = f"epoch {number}: whole" + (", and so is the log" if log_exists(store) else "")
    tell({"epoch": number, "faults": faults}, as_json, whole if not faults else "\n".join(faults))
    if faults:
        sys.exit(StoreDamaged.exit_code)


@epoch.command()
@STORE
@click.argument("number", type=click.IntRange(min=1))
@JSON
def activate(store: Path, number: int, as_json: bool) -> None:
    """Verify epoch NUMBER, then make it the active one."""
    where = Store(store)
    with digests_shown(where, number, as_json) as advance:
        where.activate(number, advance)
    tell({"active": number}, as_json, f"epoch {number} is active")


@epoch.command()
@STORE
@JSON
def rollback(store: Path, as_json: bool) -> None:
    """Activate the newest epoch older than the active one."""
    number = Store(store).rollback()
    tell({"active": number}, as_json, f"epoch {number} is active")


@epoch.command()
@STORE
@click.option("--keep", required=True, type=click.IntRange(min=1), help="How many of the newest epochs stay.")
@JSON
def prune(store: Path, keep: int, as_json: bool) -> None:
    """Remove old epochs; the active one and those that a process has open stay."""
    done = Store(store).prune(keep)
    removed = ", ".join(map(str, done.removed)) or "none"
    in_use = f"; in use and kept: {', '.join(map(str, done.in_use))}" if done.in_use else ""
    tell(done._asdict(), as_json, f"removed: {removed}{in_use}")


@epoch.command()
@STORE
@NUMBER
@click.option("--json", "as_json", is_flag=True, help="The dump is JSON lines in any case.")
def dump(store: Path, number: int | None, as_json: bool) -> None:
    """Everything an epoch says, as deterministic JSON lines."""
    from mixline.storage.dump import dump as lines

    with Store(store).open(number) as opened:
        for line in lines(opened):
            sys.stdout.buffer.write(line)
