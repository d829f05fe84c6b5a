"""``mixline serve``: read the node file, let the command line override it, and become the supervisor by exec."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from mixline.node.broker_doors import check_bind
from mixline.node.logs import STYLES
from mixline.node.serve_options import ServeOptions

BIND_DEFAULT = "tcp://127.0.0.1:5571"


def options_from(
    store: str,
    config: str | None,
    bind: tuple[str, ...] = (),
    workers: int | None = None,
    as_json: bool = False,
    log: str | None = None,
) -> ServeOptions:
    """Merge NODE.toml and the command line; raises what the configuration raises, with its exit code."""
    from_file: dict[str, Any] = {}
    endpoints, count = [BIND_DEFAULT], 0
    if config is not None:
        from mixline.node.config import load_node_config  # only `serve --config` needs the surfaces' parser

        settings = load_node_config(config)
        endpoints, count = settings.bind or endpoints, settings.workers
        names = ("tenants", "hedge", "share_scans", "log", "metrics", "warm", "compaction")
        from_file = {name: getattr(settings, name) for name in names}
    endpoints = list(bind) or endpoints
    for endpoint in endpoints:
        check_bind(endpoint)
    return ServeOptions(
        store=str(Path(store).absolute()),
        bind=endpoints,
        workers=workers or count or max(1, len(os.sched_getaffinity(0)) - 1),
        config=str(Path(config).absolute()) if config else None,
        json=as_json,
        **{**from_file, **({"log": log} if log else {})},
    )


@click.command()
@click.option("--store", required=True, type=click.Path(exists=True, file_okay=False), help="The store to serve.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="NODE.toml (docs/node.md).")
@click.option("--bind", multiple=True, help=f"Address to listen on, loopback or ipc (default {BIND_DEFAULT}).")
@click.option("--workers", type=click.IntRange(1, 511), help="Worker processes (default: cores less one).")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
@click.option(
    "--log", type=click.Choice(STYLES), help="Lines for people, or JSON objects (default: NODE.toml's, text)."
)
def serve(
    store: str, config: str | None, bind: tuple[str, ...], workers: int | None, as_json: bool, log: str | None
) -> None:
    """Serve a store until SIGTERM; SIGHUP loads a newly activated epoch and changed surfaces."""
    options = options_from(store, config, bind, workers, as_json, log)
    sys.stdout.flush()
    arguments = [sys.executable, "-m", "mixline.node.supervisor", msgspec.json.encode(options).decode()]
    os.execv(sys.executable, arguments)
