"""Writes some batches to a store where a call may fail: tells of each what came of it, and what a reader saw then."""

import sys
from pathlib import Path

from live_child import batch

from mixline.storage.errors import StorageError
from mixline.storage.live_paths import overlay_folder
from mixline.storage.live_view import LiveReader
from mixline.storage.live_writer import Ack, LiveWriter
from mixline.storage.store import Store

BATCHES = 6


def main() -> None:
    store = Path(sys.argv[1])
    with Store(store).open(grows=True) as epoch, Store(store).open(grows=True) as read:
        try:
            writer = LiveWriter(store, [epoch], now=lambda: 0)
        except StorageError as error:
            print("closed", error)
            return
        reader = LiveReader(read, overlay_folder(store, epoch.number))
        number, failures = 0, 0
        while number < BATCHES and failures < 2 * BATCHES:
            (outcome,) = writer.apply([batch(number)])
            view = reader.view()
            seen = 0 if view is None else view.live_seq
            if isinstance(outcome, Ack):
                print("ack", number, seen, int(outcome.repeated))
                number += 1
            else:
                print("refused", number, seen, outcome)
                failures += 1
        writer.close()


if __name__ == "__main__":
    main()
