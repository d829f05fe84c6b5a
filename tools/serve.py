"""``mixline serve``: read the node file, let the command line override it, and become the supervisor by exec."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from mixline.node.broker_doors import check_bind
from mixline.node.supervisor import ServeOptions

BIND_DEFAULT = "tcp://127.0.0.1:5571"


def options_from(
    store: str, config: str | None, bind: tuple[str, ...], workers: int | None, as_json: bool
) -> ServeOptions:
    """Merge NODE.toml and the command line; raises what the configuration raises, with its exit code."""
    settings = None
    if config is not None:
        from mixline.node.config import load_node_config  # only `serve --config` needs the surfaces' parser

        settings = load_node_config(config)
    endpoints = list(bind) or list(getattr(settings, "bind", None) or [BIND_DEFAULT])
    count = workers or getattr(settings, "workers", None) or max(1, len(os.sched_getaffinity(0)) - 1)
    for endpoint in endpoints:
        check_bind(endpoint)
    node_file = str(Path(config).absolute()) if config else None
    return ServeOptions(str(Path(store).absolute()), endpoints, count, node_file, json=as_json)


@click.command()
@click.option("--store", required=True, type=click.Path(exists=True, file_okay=False), help="The store to serve.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="NODE.toml: binds, workers, surfaces.")
@click.option("--bind", multiple=True, help=f"Address to listen on, loopback or ipc (default {BIND_DEFAULT}).")
@click.option("--workers", type=click.IntRange(1, 511), help="Worker processes (default: cores less one).")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
def serve(store: str, config: str | None, bind: tuple[str, ...], workers: int | None, as_json: bool) -> None:
    """Serve a store until SIGTERM; SIGHUP loads a newly activated epoch and changed surfaces."""
    options = options_from(store, config, bind, workers, as_json)
    sys.stdout.flush()
    arguments = [sys.executable, "-m", "mixline.node.supervisor", msgspec.json.encode(options).decode()]
    os.execv(sys.executable, arguments)
