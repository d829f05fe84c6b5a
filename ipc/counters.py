"""Counters in shared memory: named words with one writer each, readable by anyone at any time without a lock."""

from __future__ import annotations

from mixline.ipc.words import Words

BROKER_COUNTERS = (
    "requests",
    "replies",
    "bad_frames",
    "not_ready",
    "overloaded",
    "shutting_down",
    "too_large",
    "expired_queued",
    "timed_out_running",
    "dispatched",
    "redispatched",
    "worker_lost",
    "poison",
    "late_replies",
    "old_life_replies",
    "unroutable",
    "peer_full",
    "wakes",
    "shed",
    "peer_credit",
    "quarantined",
    "suspected",
    "hedged",
    "hedges_won",
    "lent",
    "lends_refused",
    "deaths",
    "crashes",
    "hangs",
    "queued",
    "queued_bytes",
    "open",
    "active",
    "epoch",
)
BROKER_GAUGES = ("queued", "queued_bytes", "open", "active", "epoch")  # of the above, those that also fall
WRITER_COUNTERS = ("batches", "operations", "commits")
WORKER_GAUGES = ("reader_age_s", "reader_lag")  # of the writer too: the oldest reader of the log
WORKER_COUNTERS = (
    *("asks", "echoes", "errors", "cancelled", "too_large", "arena_waits", "busy_ns", "stale", "wakes"),
    *(*WRITER_COUNTERS, *WORKER_GAUGES),
    *("shadows", "shadows_dropped", "given_up"),
)
COUNTERS_MAX = 64  # room in the layouts below; names are appended, never moved


class Counters:
    """The counters of one writer: ``counters.add("requests")``, or by :meth:`index` on a hot path."""

    def __init__(self, words: Words, names: tuple[str, ...]) -> None:
        if len(names) > words.count:
            raise ValueError(f"{len(names)} counters do not fit {words.count} words")
        self.words = words
        self.names = names
        self._index = {name: at for at, name in enumerate(names)}

    def index(self, name: str) -> int:
        """The word of a counter."""
        return self._index[name]

    def add(self, name: str, amount: int = 1) -> None:
        """Count up; only the writer may."""
        self.words.add(self._index[name], amount)

    def put(self, name: str, value: int) -> None:
        """Set a gauge; only the writer may."""
        self.words.store(self._index[name], value)

    def get(self, name: str) -> int:
        """The present value."""
        return self.words.load(self._index[name])

    def as_dict(self) -> dict[str, int]:
        """All of them by name."""
        return {name: self.words.load(at) for name, at in self._index.items()}
