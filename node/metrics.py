"""What a node counts, as Prometheus metric families. Importing this needs the extra ``[metrics]``.

Counters must not fall: a worker of a changed configuration begins its rows anew, and so may a new broker. The
collector keeps what a row had reached and adds it to what the row says now.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mixline.ipc.counters import WORKER_COUNTERS, WORKER_GAUGES, WRITER_COUNTERS
from mixline.ipc.seats import STATE_NAMES
from mixline.node.directory import COMPONENT, COMPONENT_COUNTS, LATENCY, QUEUE, SEARCH_COUNTS, SURFACE
from mixline.node.histogram import Histogram
from mixline.node.readings import MeterReader, Rows, Snapshot, counters_of, merge
from mixline.node.supervisor_breaker import Breaker

BOUNDS_US = [1 << power for power in range(6, 27)]  # 64 us to 67 s, edges of the buckets, so nothing is estimated
GAUGES = {
    "queued": ("mixline_queue_depth", "Requests that wait for a worker."),
    "queued_bytes": ("mixline_queue_bytes", "Bytes of the requests that wait."),
    "open": ("mixline_open_requests", "Requests without a reply yet, waiting or running."),
    "active": ("mixline_workers_active", "Workers that get work; the standby is none."),
    "epoch": ("mixline_epoch", "Epoch of the store that is served."),
}
READER_GAUGES = {
    "reader_age_s": (
        "mixline_log_oldest_reader_seconds",
        "How long the oldest reader of the log has read.",
    ),
    "reader_lag": ("mixline_log_oldest_reader_lag", "Commits made since the oldest reader of the log began."),
}
STATES = [name for name in COMPONENT_COUNTS if name not in ("taken", "left", *SEARCH_COUNTS)]
SEARCHES = {
    "queries": "Vectors that a space was searched with.",
    "scanned": "Of these, scans of int8 codes, to be certified.",
    "certified": "Of these, answers that are sure to be exact.",
    "wanted": "Rows that scans of int8 codes were to find.",
    "kept": "Rows that they kept for a second look.",
}


class Carry:
    """The rows of one segment, made to never fall."""

    def __init__(self) -> None:
        self.before: Rows = {}
        self.seen: Rows = {}

    def take(self, rows: Rows) -> None:
        """The latest reading. An empty one says nothing: the directory was being written."""
        if not rows:
            return
        for key, old in self.seen.items():
            if key not in rows or rows[key].began_anew(old):
                self.before[key] = self.before[key].plus(old) if key in self.before else old
        self.seen = rows

    @property
    def total(self) -> Rows:
        """All that was ever counted here."""
        return merge([self.before, self.seen])


class NodeCollector(Collector):
    """Reads shared memory at every scrape; safe from any thread."""

    def __init__(self, reader: MeterReader, breaker: Breaker) -> None:
        self.reader = reader
        self.breaker = breaker
        self._lock = threading.Lock()
        self._broker = Carry()
        self._seats: dict[int, Carry] = {}

    def look(self) -> Snapshot:
        """Read everything, with rows that never fall."""
        with self._lock:
            now = self.reader.read()
            self._broker.take(now.rows)
            for seat in now.seats:
                self._seats.setdefault(seat.number, Carry()).take(seat.rows)
            return now._replace(
                rows=self._broker.total,
                seats=[seat._replace(rows=self._seats[seat.number].total) for seat in now.seats],
            )

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry then does not read the node to learn names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, as of now."""
        now = self.look()
        yield from node_families(now, self.breaker)
        yield from broker_families(now)
        yield from seat_families(now)
        yield from writer_families(counters_of(now.writer))
        work = now.work
        yield from surface_families(now.rows, work)
        yield from component_families(work)


def node_families(now: Snapshot, breaker: Breaker) -> Iterator[Metric]:
    """Gauges of the node, and its crash loops."""
    for name, (family, text) in GAUGES.items():
        yield GaugeMetricFamily(family, text, now.gauges[name])
    yield GaugeMetricFamily("mixline_broker_life", "Brokers so far, this one included.", now.life)
    workers = GaugeMetricFamily("mixline_workers", "Seats by state of their worker.", labels=["state"])
    for state in STATE_NAMES:
        workers.add_metric([state], sum(seat.state == state for seat in now.seats))
    yield workers
    text = "1 while crashed workers are replaced slowly."
    yield GaugeMetricFamily("mixline_crash_loop_open", text, float(breaker.open))
    yield CounterMetricFamily("mixline_crash_loops", "Times that the crash-loop breaker opened.", breaker.openings)


def broker_families(now: Snapshot) -> Iterator[Metric]:
    """The broker's counters under their own names."""
    for name, value in now.counters.items():
        yield CounterMetricFamily(f"mixline_broker_{name}", f"The broker's counter {name!r}.", value)


def seat_families(now: Snapshot) -> Iterator[Metric]:
    """Counters of the workers by seat; they go on when the worker in the seat is another."""
    for name in WORKER_COUNTERS if now.seats else ():
        if name in WRITER_COUNTERS or name in WORKER_GAUGES:
            continue
        scale = 1e-9 if name == "busy_ns" else 1
        named = "busy_seconds" if name == "busy_ns" else name
        family = CounterMetricFamily(f"mixline_worker_{named}", f"The workers' counter {named!r}.", labels=["seat"])
        for seat in now.seats:
            family.add_metric([str(seat.number)], seat.counters[name] * scale)
        yield family


def writer_families(counters: dict[str, int]) -> Iterator[Metric]:
    """What the writer counts, and how old the oldest reader of its log is."""
    for name in WRITER_COUNTERS:
        yield CounterMetricFamily(f"mixline_writer_{name}", f"The writer's counter {name!r}.", counters.get(name, 0))
    for name, (named, text) in READER_GAUGES.items():
        yield GaugeMetricFamily(named, text, counters.get(name, 0))


def surface_families(broker: Rows, work: Rows) -> Iterator[Metric]:
    """Requests by surface: how they ended, how long they took, waited, and were worked on."""
    requests = CounterMetricFamily("mixline_requests", "Replies by surface and status.", labels=["surface", "status"])
    for key, row in broker.items():
        if key.what == LATENCY:
            for status, many in row.counts.items():
                requests.add_metric([key.surface, status], many)
    yield requests
    for what, rows, name, text in (
        (LATENCY, broker, "request", "From arrival to reply, OVERLOADED left out."),
        (QUEUE, broker, "queue", "The wait for a worker."),
        (SURFACE, work, "work", "What workers took for an answer."),
    ):
        family = HistogramMetricFamily(f"mixline_{name}_seconds", text, labels=["surface"])
        for key, row in rows.items():
            if key.what == what:
                add_histogram(family, [key.surface], row.times)
        yield family


def component_families(work: Rows) -> Iterator[Metric]:
    """Components, all workers together."""
    labels = ["surface", "stage", "component"]
    seconds = HistogramMetricFamily("mixline_component_seconds", "What one run took.", labels=labels)
    runs = CounterMetricFamily("mixline_component_runs", "Runs by how they ended.", labels=[*labels, "state"])
    text = "Candidates brought, kept or selected."
    taken = CounterMetricFamily("mixline_component_taken", text, labels=labels)
    left = CounterMetricFamily("mixline_component_left", "Candidates removed or left.", labels=labels)
    searches = {
        name: CounterMetricFamily(f"mixline_search_{name}", text, labels=["surface", "component"])
        for name, text in SEARCHES.items()
    }
    for key, row in work.items():
        if key.what != COMPONENT:
            continue
        where = [key.surface, key.stage, key.name]
        if row.counts.get("queries", 0):
            for name, family in searches.items():
                family.add_metric([key.surface, key.name], row.counts.get(name, 0))
        add_histogram(seconds, where, row.times)
        for state in STATES:
            runs.add_metric([*where, state], row.counts.get(state, 0))
        taken.add_metric(where, row.counts.get("taken", 0))
        left.add_metric(where, row.counts.get("left", 0))
    yield from (seconds, runs, taken, left, *searches.values())


def add_histogram(family: HistogramMetricFamily, labels: list[str], times: Histogram) -> None:
    """Cumulative buckets in seconds; values are whole microseconds, so "below 64" and "at most 64" differ by one."""
    buckets = [(str(us / 1e6), many) for us, many in zip(BOUNDS_US, times.up_to(BOUNDS_US), strict=True)]
    family.add_metric(labels, [*buckets, ("+Inf", times.total)], times.sum_us / 1e6)
