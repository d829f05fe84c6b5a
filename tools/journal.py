"""``mixline journal``: what requests left behind, listed, and exported as rows to train on."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click
import msgspec

from mixline.ipc.wire import Status
from mixline.node.config import load_node_config
from mixline.node.errors import NotFound
from mixline.storage.journal_format import Entry
from mixline.storage.journal_reader import Journal, asked_user
from mixline.tools.epoch import JSON
from mixline.tools.tables import show_table

STORE = click.option("--store", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The store.")
CONFIG = click.option(
    "--config", type=click.Path(exists=True, dir_okay=False), help="NODE.toml, where its [journal] has a path."
)
FOLDER = click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The journal.")
SURFACE = click.option("--surface", default="", help="Of one surface (default: of all).")


@click.group()
def journal() -> None:
    """What the side effect `journal` wrote: requests, fates, features, scores."""


@journal.command("list")
@STORE
@CONFIG
@FOLDER
@SURFACE
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="So many requests.")
@JSON
def list_command(
    store: Path | None, config: str | None, folder: Path | None, surface: str, last: int, as_json: bool
) -> None:
    """The latest requests, the newest first."""
    found = open_journal(store, config, folder)
    entries = found.last(last, surface)[::-1]
    tell_cuts(found)
    if as_json:
        for entry in entries:
            click.echo(msgspec.json.encode(facts_of(entry)).decode())
        return
    rows = [
        [
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(entry.fixed["answered_ns"]) // 10**9)),
            entry.schema.surface,
            asked_user(entry.ask),
            str(Status.of(int(entry.fixed["status"]))),
            int(entry.fixed["candidates"]),
            int(entry.fixed["slate"]),
            int(entry.fixed["epoch"]),
            int(entry.fixed["live_seq"]),
            int(entry.fixed["execute_us"]),
            entry.request_id.hex(),
        ]
        for entry in entries
    ]
    heads = ["answered (UTC)", "surface", "user", "status", "candidates", "served", "epoch", "live_seq", "us", "id"]
    show_table(str(found.folder), heads, rows)


@journal.command("export")
@STORE
@CONFIG
@FOLDER
@SURFACE
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The Parquet file.")
@click.option("--shadow", is_flag=True, help="What shadows computed, instead of what was served.")
@JSON
def export_command(
    store: Path | None,
    config: str | None,
    folder: Path | None,
    surface: str,
    out: Path,
    shadow: bool,
    as_json: bool,
) -> None:
    """Training rows as Parquet: one per candidate, with its features, scores, fate and position."""
    from mixline.tools.journal_rows import export

    found = open_journal(store, config, folder)
    requests, rows = export(found, out, surface, shadow)
    tell_cuts(found)
    told = {"out": str(out), "requests": requests, "rows": rows, "cut": found.cuts}
    click.echo(msgspec.json.encode(told).decode() if as_json else f"{out}: {rows:,} rows of {requests:,} requests")


@journal.command("compare")
@STORE
@CONFIG
@FOLDER
@SURFACE
@JSON
def compare_command(store: Path | None, config: str | None, folder: Path | None, surface: str, as_json: bool) -> None:
    """What shadows answered beside what was served, of the same requests."""
    from mixline.tools.replay import changes
    from mixline.tools.replaying import Outcome, compare, served_ids, served_scores

    found = open_journal(store, config, folder)
    shadows = {entry.request_id: entry for entry in found.entries(surface, shadow=True)}
    pairs = [(entry, shadows[entry.request_id]) for entry in found.entries(surface) if entry.request_id in shadows]
    tell_cuts(found)
    outcomes = [
        Outcome(entry, Status.of(int(other.fixed["status"])), served_ids(other), served_scores(other) or b"", 0.0)
        for entry, other in pairs
    ]
    difference = compare(outcomes)
    told = difference._asdict()
    for key, at in (("execute_us_served", 0), ("execute_us_shadow", 1)):
        told[key] = sum(int(pair[at].fixed["execute_us"]) for pair in pairs) / max(1, len(pairs))
    if as_json:
        click.echo(msgspec.json.encode(told).decode())
        return
    click.echo(f"{len(pairs):,} requests with a shadow, {difference.same:,} of them the same bit for bit")
    click.echo("\n".join(changes(difference)))
    click.echo(
        f"pipeline          {told['execute_us_served']:.0f} us served, {told['execute_us_shadow']:.0f} us shadow"
    )


def open_journal(store: Path | None, config: str | None, folder: Path | None) -> Journal:
    """The journal of a store, of a node, or in a folder."""
    if folder is None and config is not None:
        told = load_node_config(config).journal.path
        folder = Path(told) if told else None
    if folder is None and store is not None:
        folder = store / "journal"
    if folder is None:
        raise click.UsageError("say which: --store STORE, --config NODE.toml with [journal] path, or --folder FOLDER")
    if not folder.is_dir():
        raise NotFound(
            f"{folder}: no journal there; give a surface a [[side_effect]] of the kind journal, and look at "
            "[journal] path in NODE.toml"
        )
    return Journal(folder)


def facts_of(entry: Entry) -> dict:
    """One request as JSON."""
    fixed = entry.fixed
    numbers = ("epoch", "live_seq", "config_generation", "time", "answered_ns", "execute_us", "candidates", "kept")
    slate = entry.columns["slate"].tolist()
    ids = entry.item_ids if isinstance(entry.item_ids, list) else entry.item_ids.tolist()
    return {
        "request_id": entry.request_id.hex(),
        "surface": entry.schema.surface,
        "status": str(Status.of(int(fixed["status"]))),
        **{name: int(fixed[name]) for name in numbers},
        "ask": msgspec.msgpack.decode(entry.ask) if entry.ask else {},
        "fates": entry.facts.fates,
        "assignments": entry.facts.assignments,
        "ids": [ids[at] for at in slate],
    }


def tell_cuts(found: Journal) -> None:
    """Files that ended before they should."""
    for cut, times in Counter(found.cuts).items():
        click.echo(cut if times == 1 else f"{cut} ({times} times)", err=True)
