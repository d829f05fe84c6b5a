"""``mixline forget``: remove a user from a store, and say where they still are."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from mixline.storage.errors import StoreLocked
from mixline.storage.live_paths import log_exists
from mixline.storage.snapshots import SNAPSHOTS
from mixline.storage.store import Store
from mixline.tools.epoch import JSON

DEADLINE_MS = 60_000.0
SETTLE_S = 0.5


@click.command()
@click.option("--user", required=True, help="The user's id.")
@click.option("--store", required=True, type=click.Path(path_type=Path, file_okay=False), help="The store.")
@click.option("--endpoint", help="Of the node that serves the store; without one no node may.")
@click.option(
    "--snapshots",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A further folder of snapshots to look into.",
)
@JSON
def forget(user: str, store: Path, endpoint: str | None, folders: tuple[Path, ...], as_json: bool) -> None:
    """Remove a user from living data, the log, all epochs and the journal; what snapshots hold is only named.

    The user's own files, from which a store was built, are not touched: a build from them brings the user back.
    """
    from mixline.storage.forget import forget_in_epochs, snapshots_with
    from mixline.storage.journal_reader import erase_user

    with Store(store).open() as epoch:
        kind = epoch.users.id_kind
    if kind == "u64" and not user.isdecimal():
        raise click.UsageError(f"--user {user!r}: ids of this store's users are whole numbers")
    one = int(user) if kind == "u64" else user
    forget_live(store, one, endpoint)
    done = forget_in_epochs(store, one)
    time.sleep(SETTLE_S)  # a request that was answered before may be written down a moment later
    journalled = erase_user(store, one)
    looked_at = [folder for folder in (store / SNAPSHOTS, *folders) if folder.is_dir()]
    holders = [name for folder in looked_at for name in snapshots_with(folder, one)]
    left = bool(done.held or holders)
    facts = {"user": one, **done._asdict(), "snapshots": holders, "journalled": journalled, "done": not left}
    click.echo(msgspec.json.encode(facts).decode() if as_json else "\n".join(told(facts)))


def forget_live(store: Path, user: int | str, endpoint: str | None) -> None:
    """Through the node that serves the store, or as its writer."""
    operations = [{"op": "forget", "user": user}]
    if endpoint is not None:
        from mixline.node import Client

        with Client(endpoint) as client:
            client.apply(operations, deadline_ms=DEADLINE_MS)
    elif log_exists(store):
        from mixline.node.updates import Updates
        from mixline.node.writer import Writer

        try:
            writer = Writer(store)
        except StoreLocked as error:
            raise StoreLocked(f"{error}; or give its --endpoint") from error
        try:
            with Updates().prepare(operations) as prepared:
                writer.apply(prepared.body)
        finally:
            writer.close()


def told(facts: dict) -> list[str]:
    """For people."""
    lines = [f"user {facts['user']}: forgotten in living data"]
    if facts["active"] is not None:
        lines.append(f"epoch {facts['active']} is active, without the user")
    if facts["removed"]:
        lines.append(f"removed, since they had the user: epochs {', '.join(map(str, facts['removed']))}")
    if facts["journalled"]:
        lines.append(f"erased from the journal: {facts['journalled']} requests")
    if facts["held"]:
        lines.append(
            f"still read, with the user: epochs {', '.join(map(str, facts['held']))}. Reload the node that serves them "
            "(SIGHUP), then run this command again"
        )
    if facts["snapshots"]:
        lines.append("snapshots that hold the user, to be pruned or taken again:")
        lines += [f"  {name}" for name in facts["snapshots"]]
    return lines
