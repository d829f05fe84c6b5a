"""The one writer of a store that lives: batches into the log, and what is derived from it for the epoch that is served.

Batches that come together are written together: each is staged behind the watermark, all that are good go into the log
with one commit, then the watermark is moved and they are acknowledged. A batch that is bad is refused whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mixline.storage.carried import read_carried
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadOperation, LogUnwritable, StorageError
from mixline.storage.live_log import LiveLog, unwritable
from mixline.storage.live_ops import (
    Batch,
    Forget,
    Forgotten,
)
from mixline.storage.live_overlay import Overlay
from mixline.storage.manifest import read_manifest
from mixline.storage.publish import epoch_folder, epoch_numbers

log = logging.getLogger("mixline.live")
REPLAY_BATCHES = 256  # applied at once when the log is read again


class Ack(NamedTuple):
    """A batch is durable and visible: its operations have the numbers ``first`` .. ``live_seq``.

    ``granted``: for each operation on budgets, in their order, a byte for each entry, 1 where it was granted.
    """

    first: int
    live_seq: int
    durability: str
    repeated: bool
    granted: list[bytes] = []


def wall_clock() -> int:
    """Seconds since 1970, for events that bring no time of their own."""
    return int(time.clock_gettime(time.CLOCK_REALTIME))


class LiveWriter:
    """Applies batches to a store; :class:`~mixline.storage.errors.StoreLocked` when another process does already."""

    def __init__(
        self,
        store: Path,
        epochs: Sequence[Epoch],
        now: Callable[[], int] = wall_clock,
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        """``epochs`` are all that somebody may read, opened with room: batches must fit the first, the active one.
        ``pulse`` is called between batches."""
        self.log = LiveLog(store)
        self._now, self._pulse = now, pulse
        self.overlays: list[Overlay] = []
        try:
            for epoch in epochs:
                self.overlays.append(Overlay(store, epoch))
                self._replay(self.overlays[-1])
            self.log.prune(contained(store), pulse)
        except OSError as error:
            self.close()
            raise unwritable(self.log.path.parent, error) from error
        except BaseException:
            self.close()
            raise

    @property
    def live_seq(self) -> int:
        """The number of the last operation that is durable and visible."""
        return self.log.last

    def apply(self, batches: Sequence[Batch]) -> list[Ack | StorageError]:
        """Acknowledge each batch, or say why not. Nothing that this raises or returns as an error was applied."""
        outcomes: list[Ack | StorageError] = []
        alone = [at for at, batch in enumerate(batches) if any(isinstance(op, Forget) for op in batch.ops)]
        start = 0
        for at in [*alone, len(batches)]:
            outcomes += self._apply(batches[start:at])
            start = at + 1
            if at < len(batches):
                try:
                    outcomes.append(self._forget(batches[at]))
                except StorageError as error:
                    outcomes.append(error)
        return outcomes

    def _apply(self, batches: Sequence[Batch]) -> list[Ack | StorageError]:
        """The same for batches that may be committed together."""
        outcomes: dict[int, Ack | StorageError] = {}
        good: list[tuple[int, Batch]] = []
        fresh: dict[str, tuple[int, int]] = {}  # client -> sequence, place of the batch in this group
        twins: dict[int, int] = {}
        for at, batch in enumerate(batches):
            ahead = fresh.get(batch.client)
            if ahead is not None and ahead[0] == batch.sequence:
                twins[at] = ahead[1]
                continue
            try:
                known = self._known(batch, ahead)
                if known is not None:
                    outcomes[at] = known
                    continue
                stamped = self._stage(
                    Batch(
                        client=batch.client, sequence=batch.sequence, ops=batch.ops, durability="sync", at=self._now()
                    )
                )
            except StorageError as error:
                outcomes[at] = error
                continue
            except OSError as error:
                outcomes[at] = unwritable(self.log.path.parent, error)
                continue
            good.append((at, stamped))
            fresh[batch.client] = batch.sequence, at
        self._commit(good, outcomes)
        for at, first in twins.items():
            outcome = outcomes[first]
            outcomes[at] = outcome._replace(repeated=True) if isinstance(outcome, Ack) else outcome
        return [outcomes[at] for at in range(len(batches))]

    def _forget(self, batch: Batch) -> Ack:
        """Remove a user from the log and the overlays."""
        if (known := self._known(batch, None)) is not None:
            return known
        op = batch.ops[0]
        if len(batch.ops) != 1 or not isinstance(op, Forget):
            raise BadOperation("forget: must be alone in its batch, since it writes the log anew")
        self.overlays[0].users.check_id(op.user)
        stamped = Batch(client=batch.client, sequence=batch.sequence, ops=[Forgotten(count=1)], at=self._now())
        rows, self.log.exchanged = [], False
        try:
            for overlay in self.overlays:
                rows.append(overlay.erasing.begin(op.user))
            note = self.log.forget(op.user, stamped, self._pulse)
        except (OSError, StorageError) as error:
            if not self.log.exchanged:
                for overlay, row in zip(self.overlays, rows, strict=False):
                    overlay.erasing.take_back(row)
            raise unwritable(self.log.path.parent, error) if isinstance(error, OSError) else error from error
        for overlay, row in zip(self.overlays, rows, strict=True):
            overlay.erasing.finish(row, note.last)
        return Ack(note.first, note.last, "sync", False)

    def let_go(self, epoch: Epoch) -> None:
        """Derive nothing for an epoch any more that nobody else reads; not the first."""
        for overlay in [one for one in self.overlays[1:] if one.epoch is epoch]:
            self.overlays.remove(overlay)
            overlay.close()

    def close(self) -> None:
        """Let another writer in; the overlays stay for readers."""
        for overlay in self.overlays:
            overlay.close()
        self.log.close()

    def _stage(self, batch: Batch) -> Batch:
        """Stage a batch for every epoch, or for none; returns it as it is to be logged."""
        self._pulse()
        marks = [overlay.mark() for overlay in self.overlays]
        try:
            decided = self.overlays[0].stage(batch)
            for overlay in self.overlays[1:]:
                overlay.restage(decided)
            return decided
        except BaseException:
            for overlay, mark in zip(self.overlays, marks, strict=True):
                overlay.back(mark)
            raise

    def _known(self, batch: Batch, ahead: tuple[int, int] | None) -> Ack | None:
        """The acknowledgement of a batch that was applied before."""
        written = self.log.written(batch.client)
        last = ahead[0] if ahead is not None else -1 if written is None else written.sequence
        if batch.sequence > last:
            return None
        if ahead is None and written is not None and batch.sequence == written.sequence:
            return Ack(written.first, written.last, "sync", True, written.granted)
        raise BadOperation(
            f"sequence {batch.sequence} of client {batch.client!r}: {last} was applied already; "
            "sequences of one client ascend, and only its last batch can be sent again"
        )

    def _commit(self, good: list[tuple[int, Batch]], outcomes: dict[int, Ack | StorageError]) -> None:
        if not good:
            return
        try:
            try:
                for overlay in self.overlays:
                    overlay.reserve()
            except OSError as error:
                raise unwritable(self.log.path.parent, error) from error
            notes = self.log.append([batch for _, batch in good])
        except StorageError as error:
            for overlay in self.overlays:
                overlay.drop()
            outcomes.update({at: error for at, _ in good})
            for overlay in self.overlays:
                if overlay.state.sequence < self.log.last:  # they are in the log in spite of the error
                    self._replay(overlay)
            return
        for overlay in self.overlays:
            overlay.release(self.log.last)
        for (at, _), note in zip(good, notes, strict=True):
            outcomes[at] = Ack(note.first, note.last, "sync", False, note.granted)

    def _replay(self, overlay: Overlay) -> None:
        """Bring an overlay to where the log is. What the epoch carries comes first, and is seen whole or not at all."""
        reached = max(overlay.state.sequence, overlay.epoch.live_seq)
        if reached > self.log.last:
            raise LogUnwritable(
                f"{self.log.path}: ends at {self.log.last}, and {overlay.folder} or the epoch has reached "
                f"{reached}: the log is not this store's, or lost its end; restore a snapshot"
            )
        if not overlay.state.sequence:
            for batch in read_carried(overlay.epoch.path):
                overlay.restage(batch)
                self._pulse()
            overlay.reserve()
            overlay.release(overlay.epoch.live_seq)
        waiting = 0
        last = overlay.state.sequence
        for last, batch in self.log.after(overlay.state.sequence):
            overlay.restage(batch)
            self._pulse()
            waiting += 1
            if waiting == REPLAY_BATCHES:
                overlay.reserve()
                overlay.release(last)
                waiting = 0
        overlay.reserve()
        overlay.release(last)
        if overlay.left_out:
            text = (
                "%s: %d operations of the log do not fit this epoch (items or columns that it lacks) and are left out"
            )
            log.warning(text, overlay.folder, overlay.left_out)


def contained(store: Path) -> int:
    """The last operation that every published epoch contains, so that none of them needs it from the log."""
    found = []
    for number in epoch_numbers(store):
        try:
            found.append(read_manifest(epoch_folder(store, number)).live_seq)
        except StorageError:
            return 0  # one that cannot be read now may be mended
    return min(found, default=0)
