"""Counters and histograms that one process writes and others read: buckets, sums, directories."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.ipc.errors import SegmentError
from mixline.ipc.meters import BUCKET_COUNT, DIRECTORY_BYTES, Meters, bucket_bounds, bucket_of, meters_bytes


@given(st.integers(0, 2**33 - 1))
def test_a_value_lies_in_its_bucket_which_is_a_sixteenth_wide(value):
    low, above = bucket_bounds(bucket_of(value))
    assert low <= value < above and above - low <= max(1, low // 16)


def test_buckets_follow_one_another_and_the_last_takes_the_rest():
    bounds = [bucket_bounds(bucket) for bucket in range(BUCKET_COUNT)]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))
    assert bucket_of(2**63) == BUCKET_COUNT - 1


@given(st.lists(st.integers(-5, 2**34), max_size=50))
def test_a_reader_sees_what_the_writer_recorded(values):
    memory = bytearray(meters_bytes(2))
    writer, reader = Meters(memory, 2), Meters(memoryview(memory).toreadonly(), 2)
    for value in values:
        writer.record(1, value)
    total, counts = reader.histogram(1)
    assert total == sum(max(value, 0) for value in values)
    assert counts == {
        b: [bucket_of(max(v, 0)) for v in values].count(b) for b in {bucket_of(max(v, 0)) for v in values}
    }
    assert reader.histogram(0) == (0, {})


def test_one_note_counts_times_and_adds():
    memory = bytearray(meters_bytes(1))
    meters = Meters(memory, 1)
    meters.note(0, 2, 100, taken=7, left=3)
    meters.count(0, 9)
    assert meters.counts(0)[:10] == [0, 0, 1, 0, 7, 3, 0, 0, 0, 1]
    assert meters.histogram(0) == (100, {bucket_of(100): 1})


def test_another_directory_begins_anew_and_an_equal_one_goes_on():
    memory = bytearray(meters_bytes(1))
    meters = Meters(memory, 1)
    assert meters.directory == b"" and meters.publish(b"rows")
    meters.count(0, 0)
    assert meters.publish(b"rows") and meters.counts(0)[0] == 1
    assert meters.publish(b"rows and more", keep=True) and meters.counts(0)[0] == 1
    assert meters.publish(b"others") and meters.counts(0)[0] == 0 and meters.directory == b"others"
    assert not meters.publish(bytes(DIRECTORY_BYTES)) and meters.directory == b"others"


def test_a_reader_cannot_write_and_rows_have_bounds():
    memory = bytearray(meters_bytes(1))
    reader = Meters(memoryview(memory).toreadonly(), 1)
    for write in (lambda: reader.count(0, 0), lambda: reader.record(0, 1), lambda: reader.publish(b"x")):
        with pytest.raises(SegmentError):
            write()
    with pytest.raises(IndexError):
        reader.counts(1)
    with pytest.raises(SegmentError):
        Meters(memory, 2)
