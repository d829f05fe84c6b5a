"""What is derived from the log for one epoch: batches are staged behind the watermark, and released once logged."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from mixline.storage.budgets import Budgets
from mixline.storage.catalogue import NO_ROW
from mixline.storage.counting import ACTIONS, link_counts
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadOperation
from mixline.storage.growing import GrowingArrays
from mixline.storage.live_catalogue import LiveCatalogue, Mark
from mixline.storage.live_erase import Erasing
from mixline.storage.live_index import BLOCK, EVENT, link_events, link_queries, publish_state, read_state
from mixline.storage.live_labels import LiveLabels
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

TIME_MAX = 1 << 40  # seconds: a time beyond is in other units


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
        self.segments["queries.heads"].take_at(np.unique(counted["spare"][counted["spare"] > 0] - 1))
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
        link_queries(lines, *span, *(self.segments[name].values for name in ("queries.before", "queries.heads")))
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
        queries = self._queries(op.queries, count)
        rows = self.items.identities(items) if lenient else self._items(items)
        known = rows != NO_ROW
        if lenient and not known.all():
            self.left_out += int((~known).sum())
            users = (
                users[known]
                if isinstance(users, np.ndarray)
                else [one for one, is_in in zip(users, known, strict=True) if is_in]
            )
            rows, times, codes, queries = rows[known], times[known], codes[known], queries[known]
        self._append(self._users(users), rows, times, codes, queries)

    def _queries(self, given: list[str] | str, count: int) -> np.ndarray:
        """The number of each event's query, 0 for none."""
        if self.epoch.text is None or not given:
            return np.zeros(count, dtype=np.uint32)
        if isinstance(given, str):
            return np.full(count, self.labels.query(given), dtype=np.uint32)
        if len(given) != count:
            raise BadOperation(f"queries: {len(given)} for {count} events; give one for all, or one each")
        return np.array([self.labels.query(one) for one in given], dtype=np.uint32)

    def _append(
        self, users: np.ndarray, items: np.ndarray, times: np.ndarray, actions: np.ndarray, spare: np.ndarray | int = 0
    ) -> None:
        segment, start = self.segments["events"], self.staged_events
        if not len(users):
            return
        segment.take(start, len(users))
        for name in ("counts", "queries.before"):
            self.segments[name].take(start, len(users))
        lines = segment.values[start : start + len(users)]
        # All but ``before``, which stays as it is: a writer that died may have linked these very lines.
        lines["time"], lines["user"], lines["item"], lines["action"] = times, users, items, actions
        lines["weight"], lines["spare"] = 1.0, spare
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


def ids_of(ids: list[Id] | bytes) -> list | np.ndarray:
    """Ids of an operation: uint64 as they travel, or a list."""
    if isinstance(ids, bytes):
        if len(ids) % 8:
            raise BadOperation(f"ids of {len(ids)} bytes: little-endian uint64 take 8 each")
        return np.frombuffer(ids, dtype="<u8")
    if ids and all(type(one) is int and 0 <= one < 1 << 64 for one in ids):
        return np.array(ids, dtype=np.uint64)
    return ids
