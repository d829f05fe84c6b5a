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

import msgspec
import numpy as np

from mixline.storage.budgets import Budgets
from mixline.storage.carried import read_carried
from mixline.storage.catalogue import NO_ROW
from mixline.storage.counting import ACTIONS, link_counts
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadOperation, LogUnwritable, StorageError
from mixline.storage.growing import GrowingArrays
from mixline.storage.live_catalogue import LiveCatalogue, Mark
from mixline.storage.live_erase import Erasing
from mixline.storage.live_index import BLOCK, EVENT, link_events, publish_state, read_state
from mixline.storage.live_labels import LiveLabels
from mixline.storage.live_log import LiveLog, unwritable
from mixline.storage.live_ops import (
    AnyOperation,
    Batch,
    Block,
    DeleteItem,
    Events,
    Forget,
    Forgotten,
    Grants,
    Id,
    PatchItem,
    PatchUser,
    Release,
    Reserve,
    Spend,
    Unblock,
    UpsertItem,
    UpsertUser,
)
from mixline.storage.live_paths import overlay_folder
from mixline.storage.live_segments import (
    UNBLOCK,
    State,
    boot_number,
    count_stride,
    everybody,
    open_late_records,
    open_segments,
)
from mixline.storage.live_targets import Target, target_of
from mixline.storage.manifest import read_manifest
from mixline.storage.publish import epoch_folder, epoch_numbers

log = logging.getLogger("mixline.live")
REPLAY_BATCHES = 256  # applied at once when the log is read again
TIME_MAX = 1 << 40  # seconds: a time beyond is in other units


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


class Overlay:
    """What is derived from the log for one epoch."""

    def __init__(self, store: Path, epoch: Epoch) -> None:
        self.epoch, self.store = epoch, store
        self.folder = overlay_folder(store, epoch.number)
        self.state = State()
        self.left_out = 0  # operations, and events, of the log that do not fit this epoch
        self._open()
        boot = boot_number()
        if self.state.boot not in (0, boot):
            # The files were not synced, and the machine went down since: the log knows. Readers keep the state's page.
            publish_state(self.segments["state"].values, State())
            self.close()
            for path in self.folder.iterdir():
                if path.name != "state":
                    path.unlink()
            self._open()
        self.state = self.state._replace(boot=boot)
        self.staged_events = self.state.events

    def _open(self) -> None:
        self.segments = open_segments(self.folder, self.epoch)
        assert isinstance(self.epoch.arrays, GrowingArrays)
        tails = self.epoch.arrays.tails
        self.epoch.arrays.attach(self.folder)  # a patch reads the version before it
        _, fields = read_state(self.segments["state"].values)
        self.state = State(*fields[: len(State._fields)])
        epoch, labels = self.epoch, LiveLabels(self.epoch, self.segments["labels"])
        labels.open(self.state.label_bytes)
        self.labels = labels
        for catalogue in (epoch.items, epoch.users):
            open_late_records(catalogue, {name: segment.values for name, segment in self.segments.items()})
        self.items = LiveCatalogue(epoch.items, epoch.spaces, self.segments, tails, labels)
        self.users = LiveCatalogue(epoch.users, epoch.spaces, self.segments, tails, labels)
        self.budgets = Budgets(epoch, self.segments, labels, self.state.grants)
        self.items.open(self.state.items, self.state.deaths)
        self.users.open(self.state.users, self.state.user_deaths)
        self.erasing = Erasing(self)
        self.erasing.open()

    def mark(self) -> tuple[Mark, Mark, int, int, int]:
        """Where to go back to when a batch turns out bad."""
        return self.items.mark(), self.users.mark(), self.labels.staged, self.staged_events, self.budgets.staged

    def back(self, mark: tuple[Mark, Mark, int, int, int]) -> None:
        """Forget what was staged since ``mark``."""
        items, users, self.staged_events = mark[0], mark[1], mark[3]
        self.items.back(items)
        self.users.back(users)
        self.labels.back(mark[2])
        self.budgets.back(mark[4])

    def stage(self, batch: Batch) -> Batch:
        """Write a batch where no reader looks, and return it with what was decided on the way; when it raises, some of
        it may be staged."""
        done = []
        for at, op in enumerate(batch.ops):
            try:
                done.append(self._stage(op, batch.at, lenient=False))
            except BadOperation as error:
                raise BadOperation(f"ops[{at}] {type(op).__struct_config__.tag}: {error}") from error
        return msgspec.structs.replace(batch, ops=done)

    def restage(self, batch: Batch) -> None:
        """The same for a batch that was acknowledged on another epoch: what does not fit this one, since items or
        columns are gone from it, is left out and counted."""
        for op in batch.ops:
            mark = self.mark()
            try:
                self._stage(op, batch.at, lenient=True)
            except BadOperation:
                self.back(mark)
                self.left_out += 1

    def reserve(self) -> None:
        """Finish what was staged, and take room for the words that :meth:`release` changes in place."""
        self.items.code()
        self.items.reserve()
        self.users.reserve()
        events = self.segments["events"].values[self.state.events : self.staged_events]
        blocks = events["action"] >= BLOCK
        self.segments["users.heads"].take_at(np.unique(events["user"][~blocks]))
        self.segments["users.block_heads"].take_at(np.unique(events["user"][blocks]))
        counted = events[events["action"] < ACTIONS]
        heads = counted["action"].astype(np.int64) * count_stride(self.epoch) + counted["item"]
        self.segments["counts.heads"].take_at(heads)
        self.budgets.reserve()
        self.segments["state"].take(0, 1)

    def release(self, sequence: int) -> None:
        """Let readers see what was staged, as of ``sequence``."""
        self.items.release()
        self.users.release()
        self.labels.release()
        self.budgets.release()
        span = self.state.events, self.staged_events
        lines, *heads = (self.segments[name].values for name in ("events", "users.heads", "users.block_heads"))
        link_events(lines, *span, *heads)
        counts, chains = self.segments["counts"].values, self.segments["counts.heads"].values
        link_counts(counts, lines, *span, EVENT, chains, count_stride(self.epoch))
        self.state = self.state._replace(
            sequence=sequence,
            items=self.items.count,
            users=self.users.count,
            events=self.staged_events,
            deaths=self.items.deaths_count,
            user_deaths=self.users.deaths_count,
            label_bytes=self.labels.bytes,
            grants=self.budgets.staged,
        )
        publish_state(self.segments["state"].values, self.state)

    def drop(self) -> None:
        """Forget what was staged."""
        self.items.forget()
        self.users.forget()
        self.labels.back(self.labels.bytes)
        self.staged_events = self.state.events
        self.budgets.back(self.state.grants)

    def close(self) -> None:
        """Let go of the files."""
        for segment in self.segments.values():
            segment.close()

    def _stage(self, op: AnyOperation, at: int, *, lenient: bool) -> AnyOperation:
        match op:
            case UpsertItem():
                self.items.upsert(op.id, op.columns, op.vectors)
            case PatchItem():
                self.items.patch(op.id, op.columns, op.vectors)
            case DeleteItem():
                self.items.delete(op.id)
            case UpsertUser():
                self.users.upsert(op.id, op.columns, op.vectors)
            case PatchUser():
                self.users.patch(op.id, op.columns, op.vectors)
            case Block() | Unblock():
                self._block(op, at)
            case Events():
                self._events(op, at, lenient=lenient)
            case Reserve() | Spend() | Release() | Grants():
                return self.budgets.stage(op, lambda ids: self._users(ids_of(ids)), at, lenient=lenient)
            case Forgotten() | Forget() if not lenient:
                raise BadOperation("is the log's own word; send forget alone in a batch")
        return op

    def _block(self, op: Block | Unblock, at: int) -> None:
        target = target_of(op, self.epoch, self.items, self.labels)
        if target is None:
            (item,) = self._items([op.item]).tolist()
            target = Target(item, BLOCK if isinstance(op, Block) else UNBLOCK, 0)
        users = np.array([everybody(self.epoch)], dtype=np.uint32) if op.user is None else self._users([op.user])
        self._append(users, *(np.array([value]) for value in (target.item, at, target.action, target.spare)))

    def _events(self, op: Events, at: int, *, lenient: bool) -> None:
        users, items = ids_of(op.users), ids_of(op.items)
        count = len(users)
        if len(items) != count:
            raise BadOperation(f"{count} users and {len(items)} items; give one item for each user")
        times = np.frombuffer(op.times, "<i8") if isinstance(op.times, bytes) else np.array(op.times, dtype=np.int64)
        if not len(times):
            times = np.full(count, at, dtype=np.int64)
        if len(times) != count or ((times < 0) | (times > TIME_MAX)).any():
            raise BadOperation(f"times: {len(times)} for {count} events; give seconds since 1970, one each, or none")
        labels = op.actions
        if isinstance(labels, str):
            codes = np.full(count, self.labels.action(labels))
        elif len(labels) == count:
            codes = np.array([self.labels.action(label) for label in labels])
        else:
            raise BadOperation(f"actions: {len(labels)} for {count} events; give one for all, or one each")
        rows = self.items.identities(items) if lenient else self._items(items)
        known = rows != NO_ROW
        if lenient and not known.all():
            self.left_out += int((~known).sum())
            users = (
                users[known]
                if isinstance(users, np.ndarray)
                else [one for one, is_in in zip(users, known, strict=True) if is_in]
            )
            rows, times, codes = rows[known], times[known], codes[known]
        self._append(self._users(users), rows, times, codes)

    def _append(
        self, users: np.ndarray, items: np.ndarray, times: np.ndarray, actions: np.ndarray, spare: np.ndarray | int = 0
    ) -> None:
        segment, start = self.segments["events"], self.staged_events
        if not len(users):
            return
        segment.take(start, len(users))
        self.segments["counts"].take(start, len(users))
        lines = segment.values[start : start + len(users)]
        lines["time"], lines["user"], lines["item"], lines["action"] = times, users, items, actions
        lines["weight"], lines["spare"] = (
            1.0,
            spare,
        )  # and ``before`` as it is: a writer that died may have linked these very lines
        self.staged_events += len(users)

    def _items(self, ids: list | np.ndarray) -> np.ndarray:
        rows = self.items.identities(ids)
        lost = np.flatnonzero(rows == NO_ROW)
        if len(lost):
            raise BadOperation(f"unknown item {ids[int(lost[0])]!r} ({len(lost)} of {len(ids)}); upsert it first")
        return rows

    def _users(self, ids: list | np.ndarray) -> np.ndarray:
        rows = self.users.identities(ids)
        for at in np.flatnonzero(rows == NO_ROW).tolist():
            one = int(ids[at]) if isinstance(ids, np.ndarray) else ids[at]
            known = self.users.identity(one)
            rows[at] = self.users.upsert(one, {}, {}) if known == NO_ROW else known
        return rows


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


def ids_of(ids: list[Id] | bytes) -> list | np.ndarray:
    """Ids of an operation: uint64 as they travel, or a list."""
    if isinstance(ids, bytes):
        if len(ids) % 8:
            raise BadOperation(f"ids of {len(ids)} bytes: little-endian uint64 take 8 each")
        return np.frombuffer(ids, dtype="<u8")
    if ids and all(type(one) is int and 0 <= one < 1 << 64 for one in ids):
        return np.array(ids, dtype=np.uint64)
    return ids
