"""What is read out of the meters: quantiles as NumPy's, sums in any order, growth that survives a row begun anew."""

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_process import running, wait_until

from mixline.ipc.counters import BROKER_COUNTERS, BROKER_GAUGES
from mixline.ipc.errors import SegmentError
from mixline.ipc.meters import BUCKET_COUNT, Meters, bucket_bounds, bucket_of, meters_bytes
from mixline.node.directory import COMPONENT, COMPONENT_COUNTS, SURFACE, Row, worker_directory
from mixline.node.histogram import Histogram
from mixline.node.readings import Key, MeterReader, RowReading, difference, merge, read_rows, rows_since

MICROSECONDS = st.integers(0, 2**33 - 1) | st.integers(0, 50) | st.integers(0, 100_000)
HISTOGRAMS = st.lists(MICROSECONDS, max_size=30).map(lambda values: histogram_of(values))
KEYS = st.builds(
    Key, st.sampled_from(["surface", "component"]), st.sampled_from("ab"), st.just(""), st.sampled_from("xy")
)
ROWS = st.dictionaries(
    KEYS, st.builds(RowReading, st.dictionaries(st.sampled_from(["ok", "failed"]), st.integers(0, 99)), HISTOGRAMS)
)


def histogram_of(values):
    buckets = {}
    for value in values:
        buckets[bucket_of(value)] = buckets.get(bucket_of(value), 0) + 1
    return Histogram(sum(values), buckets)


def width(value):
    low, high = bucket_bounds(bucket_of(value))
    return high - low


@given(st.lists(MICROSECONDS, min_size=1, max_size=200), st.floats(0, 1))
def test_quantile_is_numpys_to_the_width_of_a_bucket(values, share):
    ordered = np.sort(values)
    exact = np.quantile(ordered, share)
    at = int(share * (len(values) - 1))
    neighbours = [int(ordered[at]), int(ordered[min(at + 1, len(values) - 1)])]
    error = abs(histogram_of(values).quantile(share) - exact)
    assert error <= max(map(width, neighbours)) * (1 + 1e-9) + 1e-6 * exact


def test_quantiles_at_the_edges():
    assert np.isnan(Histogram().quantile(0.5)) and np.isnan(Histogram().mean_us)
    one = histogram_of([1000])
    assert bucket_bounds(bucket_of(1000))[0] <= one.quantile(0) == one.quantile(1) < bucket_bounds(bucket_of(1000))[1]
    assert 0 <= histogram_of([0] * 10).quantile(0.99) <= 1
    with pytest.raises(ValueError, match=r"0 \.\. 1"):
        one.quantile(1.5)


@given(st.lists(MICROSECONDS, min_size=2, max_size=60))
def test_quantiles_rise(values):
    found = [histogram_of(values).quantile(share) for share in (0, 0.1, 0.5, 0.9, 0.99, 1)]
    assert found == sorted(found)


@given(st.lists(MICROSECONDS, max_size=100), st.lists(st.integers(0, BUCKET_COUNT - 1), max_size=20))
def test_up_to_is_exact_at_edges_of_buckets(values, edges):
    bounds = sorted(bucket_bounds(edge)[1] for edge in edges)
    assert histogram_of(values).up_to(bounds) == [sum(value < bound for value in values) for bound in bounds]


@given(st.lists(MICROSECONDS, max_size=50), st.lists(MICROSECONDS, max_size=50))
def test_growth_undoes_addition(earlier, later):
    before, after = histogram_of(earlier), histogram_of(earlier).plus(histogram_of(later))
    assert after.since(before) == histogram_of(later)
    assert after.total == len(earlier) + len(later)


@given(ROWS, ROWS, ROWS)
def test_merging_workers_is_associative_and_in_any_order(one, two, three):
    assert merge([merge([one, two]), three]) == merge([one, merge([two, three])]) == merge([three, one, two])


@given(ROWS)
def test_rows_that_began_anew_count_whole(rows):
    bigger = merge([rows, rows, {key: RowReading({"ok": 1}, Histogram(5, {5: 1})) for key in rows}])
    assert rows_since(rows, bigger) == rows
    assert rows_since(bigger, rows) == merge([rows, {key: RowReading({"ok": 1}, Histogram(5, {5: 1})) for key in rows}])


def test_rows_of_a_segment():
    memory = mmap.mmap(-1, meters_bytes(3))
    meters = Meters(memory, 3)
    assert read_rows(meters) == {}
    meters.publish(worker_directory([Row(SURFACE, "feed", 50.0), Row(COMPONENT, "feed", stage="source", name="taste")]))
    meters.note(0, 0, 700)
    meters.note(1, 1, 300, 40, 2)
    rows = read_rows(meters)
    assert rows[Key(SURFACE, "feed")].counts["OK"] == 1
    taste = rows[Key(COMPONENT, "feed", "source", "taste")]
    assert taste.counts == dict.fromkeys(COMPONENT_COUNTS, 0) | {"degraded": 1, "taken": 40, "left": 2}
    assert taste.times == Histogram(300, {bucket_of(300): 1})


def test_a_running_node_is_read_by_the_paths_of_info(tmp_path):
    with running(tmp_path) as node:
        reader = MeterReader.open(node.info()["meters"])
        wait_until(lambda: reader.read().gauges["active"] == 2)  # gauges are set ten times a second
        before = reader.read()
        for _ in range(20):
            node.ask(b"hi")
        other = Key("latency", "(other)")  # a strange engine announces no surface
        wait_until(lambda: reader.read().rows[other].times.total == before.rows[other].times.total + 20)
        after = reader.read()  # a reply is counted when it has left
        grown = difference(before, after)
        assert grown.rows[other].counts["OK"] == 20 and after.queue("(other)").total >= 20
        assert grown.counters["requests"] == 20 and grown.rate(20) == pytest.approx(20 / grown.seconds)
        assert sum(counts["asks"] for counts in grown.seats.values()) == 20
        assert sorted(seat.state for seat in after.seats) == ["ready"] * 3 and after.life == 1
        assert set(after.counters) | set(after.gauges) == set(BROKER_COUNTERS)
        assert set(after.gauges) == set(BROKER_GAUGES)


def test_paths_that_are_no_node_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(SegmentError, match="no segment of a node"):
        MeterReader.open({"board": str(tmp_path / "link"), "broker": "", "seats": []})
    with pytest.raises(FileNotFoundError):
        MeterReader.open({"board": "/proc/4194305/fd/3", "broker": "", "seats": []})
