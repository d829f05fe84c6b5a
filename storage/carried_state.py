"""What a new epoch carries of the state that it was built from: blocks, grants, and events of items that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mixline.storage.catalogue import NO_ROW, Catalogue
from mixline.storage.live_blocks import NO_BLOCKS, Blocks, blocks_after
from mixline.storage.live_index import BLOCK
from mixline.storage.live_ops import (
    OPERATIONS_MAX,
    AnyOperation,
    Batch,
    Block,
    DeleteItem,
    Events,
    Grants,
    Id,
    UpsertItem,
)
from mixline.storage.live_segments import everybody
from mixline.storage.live_view import LiveView

WINDOW_SLACK = 1.001  # a line has its window as float32
LOST_MAX = 1 << 22  # events of items that are gone; of more the newest


def carried_batches(view: LiveView, lost: Sequence[np.ndarray], there: np.ndarray) -> list[Batch]:
    """Batches that bring a new epoch to where ``view`` is; ``lost`` are the events that found no place in it, ``there``
    says of each row of a user whether it is anybody's.

    An item that is gone is made and deleted again, for what its users did with it: should it come back, they have
    seen it.
    """
    events = newest_of(np.concatenate(lost)) if lost else None
    users, items = view.epoch.users, view.epoch.items
    there = there.copy()
    there[everybody(view.epoch)] = True
    blocks = list(blocks_by_user(view, there))
    named = [one.items for _, one in blocks] + ([events["item"]] if events is not None else [])
    identities = np.unique(np.concatenate([np.zeros(0, dtype=np.uint32), *named]))
    gone = identities[view.versions(items, identities) == NO_ROW]
    ghosts = ids_of(items, gone)
    batches: list[Batch] = []
    pack(batches, (UpsertItem(id=one) for one in ghosts))
    if events is not None:
        labels = view.action_labels
        for start in range(0, len(events), OPERATIONS_MAX):
            part = events[start : start + OPERATIONS_MAX]
            op = Events(
                users=ids_of(users, part["user"]),
                items=ids_of(items, part["item"]),
                times=part["time"].tolist(),
                actions=[labels[code] if labels else "" for code in part["action"].tolist()],
            )
            batches.append(batch(len(batches), [op]))
    pack(batches, (op for user, one in blocks for op in block_ops(view, user, one)))
    batches += [batch(len(batches) + at, [op]) for at, op in enumerate(grant_ops(view, there))]
    pack(batches, (DeleteItem(id=one) for one in ghosts))
    return batches


def newest_of(events: np.ndarray) -> np.ndarray:
    """At most LOST_MAX of them, in their order."""
    if len(events) <= LOST_MAX:
        return events
    kept = np.argsort(events["time"], kind="stable")[-LOST_MAX:]
    return events[np.sort(kept)]


def blocks_by_user(view: LiveView, there: np.ndarray) -> Iterator[tuple[int, Blocks]]:
    """What is in force for each user that is anybody, and for everybody."""
    lines = view.reader.own["events"][: view.state.events]
    lines = lines[(lines["action"] >= BLOCK) & there[lines["user"]]][::-1]  # the latest first
    lines = lines[np.argsort(lines["user"], kind="stable")]
    users, starts = np.unique(lines["user"], return_index=True)
    for user, own in zip(users.tolist(), np.split(lines, starts[1:]), strict=False):
        yield user, blocks_after(NO_BLOCKS, own)


def block_ops(view: LiveView, user: int, blocks: Blocks) -> Iterator[Block]:
    """Operations that make a user's blocks again."""
    items, names = view.epoch.items, [*view.epoch.items.facts.columns]
    one = None if user == everybody(view.epoch) else view.epoch.users.id_of(user)
    for item in ids_of(items, blocks.items):
        yield Block(user=one, item=item)
    for number, value in sorted(blocks.values):
        column = items.columns[names[number]]
        yield Block(user=one, column=column.name, value=value if column.kind == "i64" else column.labels[value])


def grant_ops(view: LiveView, there: np.ndarray) -> Iterator[Grants]:
    """The lines of budgets that may still be needed, in their order."""
    lines, users = view.reader.own["grants"][: view.state.grants], view.epoch.users
    lines = lines[there[lines["user"]]]
    if not len(lines):
        return
    windows = np.zeros(int(lines["budget"].max()) + 1)
    np.maximum.at(windows, lines["budget"], np.where(lines["window"] == 0, np.inf, lines["window"] * WINDOW_SLACK + 1))
    lines = lines[lines["time"] + windows[lines["budget"]] >= lines["time"].max()]
    for start in range(0, len(lines), OPERATIONS_MAX):
        part = lines[start : start + OPERATIONS_MAX]
        ids: list[Id | None] = [None] * len(part)
        own = np.flatnonzero(part["user"] != everybody(view.epoch))
        for at, one in zip(own.tolist(), ids_of(users, part["user"][own]), strict=True):
            ids[at] = one
        yield Grants(budgets=list(view.reader.labels[-1].labels), users=ids, lines=part.tobytes())


def ids_of(catalogue: Catalogue, rows: np.ndarray) -> list[Id]:
    return np.asarray(catalogue.ids_of(rows)).tolist()


def pack(batches: list[Batch], ops: Iterable[AnyOperation]) -> None:
    """Add ``ops`` in as few batches as their limit allows."""
    every = list(ops)
    for start in range(0, len(every), OPERATIONS_MAX):
        batches.append(batch(len(batches), every[start : start + OPERATIONS_MAX]))


def batch(sequence: int, ops: list[AnyOperation]) -> Batch:
    return Batch(client="carried", sequence=sequence, ops=ops)
