"""An epoch's living data as of any earlier state of the log: derived anew, in a folder that nobody else looks at.

Only the log is read, so a node may serve and write meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from mixline.storage.carried import read_carried
from mixline.storage.epoch import Epoch
from mixline.storage.errors import StoreDamaged
from mixline.storage.live_log import log_reach, reading
from mixline.storage.live_ops import Batch, decode_batch
from mixline.storage.live_overlay import Overlay
from mixline.storage.live_paths import LOG_TABLE, log_exists, overlay_folder


class Past:
    """Of an epoch that was opened with room (``grows``). Goes forward only."""

    def __init__(self, store: Path, epoch: Epoch) -> None:
        pruned, last = log_reach(store)
        if pruned > epoch.live_seq:
            raise StoreDamaged(
                f"{store}: the log begins behind {pruned}, and epoch {epoch.number} contains only {epoch.live_seq}: "
                "what was written between is in a later epoch"
            )
        self._folder = TemporaryDirectory(prefix="mixline-past-")
        self.folder = overlay_folder(Path(self._folder.name), epoch.number)
        self.reached = epoch.live_seq
        self._overlay = Overlay(Path(self._folder.name), epoch)
        carried = read_carried(epoch.path)
        for batch in carried:
            self._overlay.restage(batch)
        if carried:
            self._release()
        self._batches = batches_after(store, self.reached) if last > self.reached else iter(())
        self._next = next(self._batches, None)

    def go_to(self, sequence: int) -> None:
        """Apply what the log has up to a number, which a reader then sees."""
        while self._next is not None and self._next[0] <= sequence:
            self.reached, batch = self._next
            self._overlay.restage(batch)
            self._next = next(self._batches, None)
            if self._next is None or self._next[0] > sequence:
                self._release()

    def _release(self) -> None:
        self._overlay.reserve()
        self._overlay.release(self.reached)

    def close(self) -> None:
        """Remove the folder."""
        self._overlay.close()
        self._folder.cleanup()


def batches_after(store: Path, sequence: int) -> Iterator[tuple[int, Batch]]:
    """(number of the last operation, batch) of all batches behind ``sequence``."""
    if not log_exists(store):
        return
    with reading(store) as env:
        at = sequence
        while True:
            found: list[tuple[int, Batch]] = []
            with env.begin() as transaction:  # short ones, since a reader keeps pages from being used again
                table = env.open_db(LOG_TABLE, transaction, create=False)
                with transaction.cursor(table) as cursor:
                    there = cursor.set_range((at + 1).to_bytes(8, "big"))
                    while there and len(found) < 256:
                        found.append((int.from_bytes(cursor.key(), "big"), decode_batch(cursor.value())))
                        there = cursor.next()
            if not found:
                return
            yield from found
            at = found[-1][0]
