"""``mixline build``: a specification and the user's files in, a published epoch out."""

from __future__ import annotations

import re
import time
from pathlib import Path

import click
import msgspec

from mixline.storage.manifest import Manifest

UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40, "KB": 10**3, "MB": 10**6}
UNITS |= {"GB": 10**9, "TB": 10**12}


def parse_bytes(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """``4GiB``, ``512 MiB``, ``100000``."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if not found or found[2].upper() not in UNITS:
        raise click.BadParameter(f"{value!r} is no size; write for example 4GiB or 512MiB")
    return int(float(found[1]) * UNITS[found[2].upper()])


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--out", "store", required=True, type=click.Path(path_type=Path, file_okay=False), help="The store.")
@click.option("--memory", default="4GiB", callback=parse_bytes, show_default=True, help="Limit for learning spaces.")
@click.option("--no-activate", is_flag=True, help="Publish the epoch and leave the active one as it is.")
@click.option("--live-seq", default=0, help="The files contain what was applied live up to this number.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and no progress.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def build(spec: Path, store: Path, memory: int, no_activate: bool, live_seq: int, as_json: bool, quiet: bool) -> None:
    """Build an epoch from SPEC (TOML) and the files it names, publish it in STORE and activate it."""
    from mixline.storage.progress import Silence
    from mixline.storage.spec import read_spec
    from mixline.tools.progress import progress_on_stderr

    parsed = read_spec(spec)
    from mixline.node.build_kernels import build_kernels
    from mixline.storage.builder import Builder
    from mixline.storage.file_source import FileSource

    started_s = time.monotonic()
    shown = None if quiet or as_json else progress_on_stderr()
    try:
        builder = Builder(FileSource(parsed, live_seq, store), store, build_kernels(), memory, shown or Silence())
        manifest = builder.build(activate=not no_activate)
    finally:
        if shown is not None:
            shown.close()
    tell_built(store, manifest, not no_activate, time.monotonic() - started_s, as_json, quiet)


def tell_built(store: Path, manifest: Manifest, active: bool, seconds: float, as_json: bool, quiet: bool) -> None:
    """What a build made, on a line or as JSON."""
    facts = {
        "store": str(store),
        "epoch": manifest.number,
        "active": active,
        "items": manifest.items.count,
        "users": manifest.users.count,
        "events": manifest.events.count if manifest.events else 0,
        "skipped_events": manifest.events.skipped if manifest.events else 0,
        "spaces": {name: space.dim for name, space in manifest.spaces.items()},
        "bytes": sum(one.bytes for one in manifest.files.values()),
        "seconds": round(seconds, 2),
    }
    if as_json:
        click.echo(msgspec.json.encode(facts).decode())
    elif not quiet:
        click.echo(
            f"epoch {facts['epoch']} of {store}: {facts['items']:,} items, {facts['users']:,} users, "
            f"{facts['events']:,} events ({facts['skipped_events']:,} skipped), {facts['bytes']:,} bytes, "
            f"{facts['seconds']} s" + ("" if active else ", not activated")
        )
