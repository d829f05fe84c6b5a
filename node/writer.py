"""The writer's engine: requests of kind APPLY in, acknowledgements out; what waits together is committed together.

It sits in a seat like a worker, so that slots, deaths and deadlines are those of every request. A batch that was lost
with its writer is sent again by the broker, and known by its client and sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic_ns

import msgspec

from mixline.ipc.counters import Counters
from mixline.ipc.wire import RequestHeader, Status
from mixline.node.engine import Asked
from mixline.node.errors import BadRequest, InternalError, NodeError, NotReady, Overloaded, RequestTimeout
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadOperation, ExtraMissing, LiveFull, LogUnwritable, StorageError, StoreLocked
from mixline.storage.live_log import LiveLog
from mixline.storage.live_ops import Batch, decode_batch
from mixline.storage.live_writer import Ack, LiveWriter
from mixline.storage.store import Store

WATCH_S = 1.0  # between two looks at the readers of the log; a worker that died holds its slot no longer
FULL_RETRY_US = 1_000_000
STANDS_FOR: tuple[tuple[type[StorageError], type[NodeError]], ...] = (
    (BadOperation, BadRequest),
    (ExtraMissing, BadRequest),
    (LiveFull, Overloaded),
    (LogUnwritable, NotReady),
    (StoreLocked, NotReady),
)
encode = msgspec.msgpack.Encoder().encode


class Writer:
    """Applies batches to the store that a node serves."""

    def __init__(self, store: str | Path) -> None:
        """Be the writer of ``store``; brings the overlays of its active epoch, and of all that somebody reads, up to
        the log."""
        self._turn: Callable[[int | None], None] = lambda _: None
        self._lock = Lock()
        self._counters: Counters | None = None
        self._watch: ReaderWatch | None = None
        self._epochs = open_epochs(Store(store))
        self.epoch_number = max(epoch.number for epoch in self._epochs)
        try:
            self._writer = LiveWriter(Path(store), self._epochs, pulse=lambda: self._turn(None))
        except BaseException:
            for epoch in self._epochs:
                epoch.close()
            raise

    def count_in(self, counters: Counters) -> None:
        """Count in a segment of this process from now on, and look at the readers of the log now and then."""
        self._counters = counters
        self._watch = ReaderWatch(self._writer.log, counters, self.let_go)
        self._watch.start()

    def let_go(self) -> None:
        """Close the epochs that nobody else reads any more, so that they can be pruned."""
        with self._lock:
            for epoch in self._epochs[1:]:
                try:
                    if epoch.read_by_others():
                        continue
                except StorageError:
                    pass  # it is being pruned
                self._writer.let_go(epoch)
                self._epochs.remove(epoch)
                epoch.close()

    @property
    def live_seq(self) -> int:
        """The last operation that was acknowledged."""
        return self._writer.live_seq

    def apply(self, body: bytes | memoryview) -> bytes:
        """One batch; raises a :class:`NodeError` instead of an acknowledgement."""
        try:
            return encode_ack(self._commit([decode_batch(body)])[0])
        except StorageError as error:
            raise failure(error) from error

    def answer(
        self, header: RequestHeader, body: bytes | memoryview, deadline_ns: int, pulse: Callable[[], bool]
    ) -> tuple[Status, bytes]:
        """Answer one request of kind APPLY."""
        return Status.OK, self.apply(body)

    def answer_many(
        self, asks: Sequence[Asked], turn: Callable[[int | None], None]
    ) -> Iterator[tuple[int, tuple[Status, bytes] | Exception]]:
        """Answer several with one commit, which all of them have a share in."""
        batches: dict[int, Batch] = {}
        for at, asked in enumerate(asks):
            turn(at)
            if asked[2] <= monotonic_ns():
                yield at, RequestTimeout("the deadline passed before the writer came to it; nothing was applied")
                continue
            try:
                batches[at] = decode_batch(asked[1])
            except StorageError as error:
                yield at, failure(error)
        self._turn = turn
        outcomes = self._commit([*batches.values()])
        for at, outcome in zip(batches, outcomes, strict=True):
            yield at, (Status.OK, encode_ack(outcome)) if isinstance(outcome, Ack) else failure(outcome)

    def _commit(self, batches: Sequence[Batch]) -> list[Ack | StorageError]:
        with self._lock:
            outcomes = self._writer.apply(batches)
        done = [outcome for outcome in outcomes if isinstance(outcome, Ack) and not outcome.repeated]
        if self._counters is not None and done:
            self._counters.add("commits")
            self._counters.add("batches", len(done))
            self._counters.add("operations", sum(ack.live_seq - ack.first + 1 for ack in done))
        return outcomes

    def close(self) -> None:
        """Let another writer in."""
        if self._watch is not None:
            self._watch.end()
        self._writer.close()
        for epoch in self._epochs:
            epoch.close()


class ReaderWatch(Thread):
    """Looks at the readers of the log also while nothing is written, and says how old the oldest is; and at those of
    epochs that were replaced."""

    def __init__(self, log: LiveLog, counters: Counters, let_go: Callable[[], None]) -> None:
        super().__init__(name="log readers", daemon=True)
        self._log, self._counters, self._let_go = log, counters, let_go
        self._over = Event()

    def run(self) -> None:
        while not self._over.wait(WATCH_S):
            oldest = self._log.look_at_readers()
            self._counters.put("reader_age_s", 0 if oldest is None else int(oldest.age_s))
            self._counters.put("reader_lag", 0 if oldest is None else oldest.lag)
            self._let_go()

    def end(self) -> None:
        """No more looks."""
        self._over.set()
        self.join()


def open_epochs(store: Store) -> list[Epoch]:
    """The active epoch and those that somebody reads, opened with room for what comes later."""
    found = [store.open(grows=True)]
    for number in store.in_use():
        if number != found[0].number:
            found.append(store.open(number, grows=True))
    return found


def encode_ack(outcome: Ack | StorageError) -> bytes:
    """The body of the reply; raises the error that stands in its place."""
    if isinstance(outcome, StorageError):
        raise outcome
    return encode(outcome._asdict())


def failure(error: StorageError) -> NodeError:
    """What the wire says of an error of the store."""
    for kind, stands_for in STANDS_FOR:
        if isinstance(error, kind):
            return stands_for(str(error), FULL_RETRY_US if stands_for is Overloaded else 0)
    return InternalError(f"{type(error).__name__}: {error}")
