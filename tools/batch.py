"""One surface for many users, through a node: its broker keeps all cores busy, this process only reads pages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mixline.node.client import Client
from mixline.node.page import Page
from mixline.tools.progress import progress_on_stderr
from mixline.tools.serving import serving

TOGETHER = 1000  # asks on the way at a time
DEADLINE_MS = 60_000
PRIORITY = 255  # whoever waits for a page goes first


@contextmanager
def node_for(store: Path, config: Path | None, endpoint: str | None, workers: int) -> Iterator[Client]:
    """A client of the node at ``endpoint``, or of one that serves ``store`` for as long as this lasts."""
    if endpoint is not None:
        with Client(endpoint) as client:
            yield client
        return
    with tempfile.TemporaryDirectory(prefix="mixline-batch-") as name:
        folder = Path(name)
        with serving(store, folder, workers, config) as (own, _), Client(own) as client:
            yield client


def pages_of(
    client: Client, surface: str, users: Sequence[int | str], what: str, **request: Any
) -> Iterator[tuple[int | str, Page]]:
    """Each user with a page, in order; a click error at the first that gets none. Shows how far it is on stderr."""
    progress = progress_on_stderr()
    progress.phase(what, len(users))
    try:
        for start in range(0, len(users), TOGETHER):
            some = users[start : start + TOGETHER]
            common = {"surface": surface, "deadline_ms": DEADLINE_MS, "priority": PRIORITY, **request}
            for user, page in zip(some, client.ask_many([{**common, "user": one} for one in some]), strict=True):
                if not isinstance(page, Page):
                    raise click.ClickException(f"user {user!r}: {type(page).__name__}: {page}")
                yield user, page
            progress.advance(len(some))
    finally:
        progress.close()


def batch_options(command: Any) -> Any:
    """The options that all batch commands have."""
    for option in (
        click.option("--surface", required=True, help="Which surface to ask."),
        click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="NODE.toml."),
        click.option("--endpoint", help="A node that serves the store; left out, one is started for this."),
        click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 256)),
        click.option("--user-column", default="user", show_default=True, help="Column of the file with users' ids."),
        click.option("--time", "at", type=click.IntRange(min=0), help="Ask as of this second since 1970."),
    ):
        command = option(command)
    return command
