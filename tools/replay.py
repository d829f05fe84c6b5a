"""``mixline replay``: requests of a journal once more. Are the answers the same, or what would another file do?"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from mixline.node.config import NodeConfig, load_node_config
from mixline.storage.journal_format import Entry
from mixline.tools.epoch import JSON
from mixline.tools.journal import CONFIG, FOLDER, STORE, SURFACE, open_journal, tell_cuts
from mixline.tools.replaying import Difference, Outcome, compare, replay

SAMPLE = 500  # of the requests, asked under both configurations for what they cost


@click.command("replay")
@STORE
@FOLDER
@SURFACE
@click.option("--served-with", type=click.Path(dir_okay=False), help="NODE.toml of then (default: as was recorded).")
@CONFIG
@click.option("--last", type=click.IntRange(min=1), default=10_000, show_default=True, help="So many requests.")
@JSON
def replay_command(
    store: Path | None,
    folder: Path | None,
    surface: str,
    served_with: str | None,
    config: str | None,
    last: int,
    as_json: bool,
) -> None:
    """Ask the latest requests of a journal again, on the versions that they were answered from.

    Without --config the answers must be the same, bit for bit, unless they were degraded: exit code 1 when some are
    not. With --config OTHER.toml: how the pages of that configuration differ from those that were served.
    """
    if store is None:
        raise click.UsageError("--store says on which store")
    found = open_journal(store, None if folder else served_with, folder)
    entries = found.last(last, surface)
    tell_cuts(found)
    if not entries:
        raise click.UsageError(f"{found.folder}: no request of {surface or 'any surface'} in it")
    then = load_node_config(served_with or recorded(entries))
    began = time.monotonic()
    outcomes = replay(store, entries, then if config is None else load_node_config(config))
    difference = compare(outcomes)
    told = {**difference._asdict(), "seconds": time.monotonic() - began, "cpu_us": cpu_of(outcomes)}
    told["changed_surfaces"] = changed(entries, then)
    if config is not None:
        told["cpu_us_before"] = cpu_of(replay(store, sample(entries), then))
    show(told, difference, config, as_json)
    if config is None and difference.same + difference.degraded + difference.failed < difference.requests:
        sys.exit(1)


def recorded(entries: list[Entry]) -> str | None:
    """The NODE.toml that the latest request was answered under, if it is still there."""
    path = entries[-1].schema.config
    return path if path and Path(path).is_file() else None


def sample(entries: list[Entry]) -> list[Entry]:
    """Some of them, evenly."""
    return entries[:: max(1, len(entries) // SAMPLE)]


def changed(entries: list[Entry], config: NodeConfig) -> list[str]:
    """Surfaces whose declaration is another one than then."""
    digests = {(entry.schema.surface, entry.schema.digest) for entry in entries}
    now = {name: surface.digest for name, surface in config.surfaces.items()}
    return sorted({name for name, digest in digests if now.get(name) != digest})


def cpu_of(outcomes: list[Outcome]) -> dict[str, float]:
    """Microseconds of CPU that a request took, here and in one thread."""
    took = np.array([one.cpu_us for one in outcomes if not one.error] or [0.0])
    return {"mean": float(took.mean()), "median": float(np.median(took)), "p99": float(np.percentile(took, 99))}


def show(told: dict[str, Any], difference: Difference, config: str | None, as_json: bool) -> None:
    """For programs, or for people."""
    if as_json:
        click.echo(msgspec.json.encode(told).decode())
        return
    lines = [
        f"{difference.requests:,} requests in {told['seconds']:.1f} s",
        f"same bit for bit  {difference.same:,}    same items  {difference.same_ids:,}    "
        f"degraded  {difference.degraded:,}    no answer  {difference.failed:,}",
    ]
    if told["changed_surfaces"] and config is None:
        lines.append(f"declared otherwise since: {', '.join(told['changed_surfaces'])}")
    if config is not None:
        before, after = told["cpu_us_before"], told["cpu_us"]
        lines += changes(difference)
        lines.append(
            f"CPU a request     {before['mean']:.0f} us before, {after['mean']:.0f} us after (median "
            f"{before['median']:.0f}, {after['median']:.0f})"
        )
    lines += [f"{count:,} times: {error}" for error, count in difference.errors.items()]
    click.echo("\n".join(lines))


def changes(difference: Difference) -> list[str]:
    """How pages differ, in words."""
    return [
        f"overlap           {difference.overlap:.4f} of a page on average; the first item kept by "
        f"{difference.first_kept:.4f}",
        f"rank changes      {difference.moved:.2f} places on average, of items on both pages",
        f"coverage          {difference.catalogue_before:,} different items before, "
        f"{difference.catalogue_after:,} after",
        f"came most often   {listed(difference.entered)}",
        f"went most often   {listed(difference.left)}",
    ]


def listed(items: list) -> str:
    """Items with how often."""
    return ", ".join(f"{item} ({count})" for item, count in items) or "none"
