"""Writes batches to a store until it is killed: says what was acknowledged, each on a line of its own."""

import sys
from pathlib import Path

from mixline.storage.live_ops import Batch, DeleteItem, Events, PatchItem, UpsertItem
from mixline.storage.live_writer import Ack, LiveWriter
from mixline.storage.store import Store

ITEMS = 50


def batch(number: int) -> Batch:
    """What is in batch ``number``: one item more, one patched, one gone, and two events."""
    one = 10_000 + number
    ops = [
        UpsertItem(id=one, columns={"size": number}, vectors={}),
        Events(users=[number % 7, number % 5], items=[one, one], times=[number, number]),
        PatchItem(id=one, columns={"size": number + 0.5}),
    ]
    if number >= 10:
        ops.append(DeleteItem(id=one - 10))
    return Batch(client="child", sequence=number, ops=ops)


def main() -> None:
    store, number = Path(sys.argv[1]), int(sys.argv[2])
    with Store(store).open(grows=True) as epoch:
        writer = LiveWriter(store, [epoch], now=lambda: 0)
        print("ready", flush=True)
        while True:
            (outcome,) = writer.apply([batch(number)])
            assert isinstance(outcome, Ack), outcome
            print(number, flush=True)
            number += 1


if __name__ == "__main__":
    main()
