"""``mixline warm``: a store's active epoch into the page cache before requests need it, with what it was and became."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click
import msgspec

from mixline.ipc.warming import hold
from mixline.node.warming import Warmed, read_recorded, replay, short_of
from mixline.node.warming import warm as warm_files
from mixline.storage.epoch import Epoch
from mixline.storage.store import Store
from mixline.tools.build import parse_bytes
from mixline.tools.doctor_finding import size
from mixline.tools.progress import progress_on_stderr

EX_OSERR = 71


class LockRefused(click.ClickException):
    """Memory that may not be locked."""

    exit_code = EX_OSERR


@click.command()
@click.argument("store", type=click.Path(path_type=Path, file_okay=False))
@click.option("--epoch", "number", type=click.IntRange(min=1), help="Which epoch; the active one by default.")
@click.option("--memory", metavar="SIZE", help="Use no more than this (4GiB); by default what is available.")
@click.option("--huge/--no-huge", default=True, help="In huge pages of the page cache, where the file system has them.")
@click.option("--lock", is_flag=True, help="Lock all of it in memory, and stay until SIGTERM or Ctrl-C.")
@click.option("--replay", "recorded", type=click.Path(path_type=Path, dir_okay=False), help="Then ask these requests.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="NODE.toml for the replay's surfaces.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def warm(
    store: Path,
    number: int | None,
    memory: str | None,
    huge: bool,
    lock: bool,
    recorded: Path | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Bring STORE into memory by priority: graph, codes, columns, ids, then float32 rows."""
    room = None if memory is None else parse_bytes(click.get_current_context(), click.Option(["--memory"]), memory)
    requests = read_recorded(recorded) if recorded else []
    shown = None if as_json else progress_on_stderr()
    try:
        with Store(store).open(number) as epoch:
            if shown:
                shown.phase(f"warming epoch {epoch.number}", sum(one.bytes for one in epoch.manifest.files.values()))
            files = list(warm_files(epoch, shown.advance if shown else lambda _: None, huge=huge, room=room))
            result = summary(epoch, files)
            if lock:
                lock_all(epoch)
            if requests:
                if shown:
                    shown.phase("asking recorded requests", len(requests))
                result["replay"] = replay(store, config, requests, shown.advance if shown else lambda _: None)
            if shown:
                shown.close()
                shown = None
            told = picture(result, lock)
            click.echo(msgspec.json.encode({**result, "locked": lock}).decode() if as_json else told)
            if lock:
                wait_for_the_end()
    finally:
        if shown:
            shown.close()


def summary(epoch: Epoch, files: list[Warmed]) -> dict[str, Any]:
    """For people and machines: by file, in all, and what had no room."""
    total = sum(one.bytes for one in files)
    known = all(one.after is not None for one in files)
    return {
        "epoch": epoch.number,
        "bytes": total,
        "resident_before": sum(one.before or 0 for one in files) if known else None,
        "resident_after": sum(one.after or 0 for one in files) if known else None,
        "left_out": short_of(files),
        "files": [one._asdict() for one in files],
    }


def picture(result: dict[str, Any], lock: bool) -> str:
    """A line a file, one for all, and what did not fit."""
    lines = [
        f"{one['kind']:8}{share(one['before'], one['bytes'])} -> {share(one['after'], one['bytes'])}"
        f"  {size(one['bytes']):>9}  {one['way']:9}  {one['file']}"
        for one in result["files"]
    ]
    whole = f"{share(result['resident_before'], result['bytes'])} -> {share(result['resident_after'], result['bytes'])}"
    lines.append(f"epoch {result['epoch']}: {whole.strip()} of {size(result['bytes'])}{', locked' if lock else ''}")
    if result["left_out"]:
        lines.append(f"no memory for all of {len(result['left_out'])} files: {', '.join(result['left_out'])}")
    if "replay" in result:
        lines.append("replay: {answered} answered, {failed} failed".format(**result["replay"]))
    return "\n".join(lines)


def share(part: int | None, whole: int) -> str:
    return "   ?" if part is None else f"{part / max(1, whole):4.0%}"


def lock_all(epoch: Epoch) -> None:
    """Lock every file; the first that may not be ends the command with what to do."""
    for name in epoch.manifest.files:
        try:
            hold(epoch.path / name)
        except OSError as error:
            raise LockRefused(
                f"{epoch.path / name}: cannot be locked: {error.strerror}; raise the limit of locked memory "
                "(ulimit -l, LimitMEMLOCK=) above the epoch's size"
            ) from error


def wait_for_the_end() -> None:
    """Hold what is locked until told to end."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)
