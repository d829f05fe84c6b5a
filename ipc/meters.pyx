"""What a process counts and times, in shared memory that any other may read at any moment without a lock.

A segment begins with a directory, JSON that says what each row is about, and goes on with rows of one page: named
counters, a sum and a log-linear histogram of microseconds. One process writes; a reader may see a value before its
sum, and differences between two readings are always right within a request or two.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from mixline.ipc.errors import SegmentError

from mixline.ipc.checks cimport mx_live, mx_live_add
from mixline.ipc.words cimport mx_load_acquire, mx_load_relaxed, mx_store_relaxed, mx_store_release


cdef extern from "<sys/mman.h>" nogil:
    int MADV_REMOVE
    int madvise(void* address, size_t length, int advice) noexcept


DIRECTORY_BYTES = DIRECTORY
ROW_BYTES = ROW_WORDS * 8
COUNTS_MAX = COUNTS
BUCKET_COUNT = BUCKETS


def meters_bytes(Py_ssize_t rows) -> int:
    """Bytes of a segment with so many rows."""
    return DIRECTORY_BYTES + rows * ROW_BYTES


def bucket_of(uint64_t value) -> int:
    """The bucket of a value in microseconds."""
    return mx_bucket_of(value)


def bucket_bounds(int bucket) -> tuple[int, int]:
    """The smallest value of a bucket and of the next."""
    cdef int shift
    if bucket < 16:
        return bucket, bucket + 1
    shift = bucket // 16 - 1
    return <uint64_t>(16 + bucket % 16) << shift, <uint64_t>(17 + bucket % 16) << shift


def live() -> int:
    """Buffer views that this process holds through this module: the debug build's leak counter, 0 in any other."""
    return mx_live()


cdef class Meters:
    """A segment with ``rows`` rows, mapped by its one writer or by a reader."""

    def __cinit__(self, buffer, Py_ssize_t rows):
        self.held = False
        try:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE)
            self.writable = True
        except BufferError:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE)
            self.writable = False
        self.held = True
        mx_live_add(1)
        if rows <= 0 or self.view.len < meters_bytes(rows):
            raise SegmentError(f"meters: {rows} rows do not fit {self.view.len} bytes")
        self.base = <uint64_t*>(<char*>self.view.buf + DIRECTORY)
        self.rows = rows

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)
            mx_live_add(-1)

    cdef uint64_t* row(self, Py_ssize_t at) except NULL:
        if at < 0 or at >= self.rows:
            raise IndexError(f"row {at} of {self.rows}")
        return self.base + at * ROW_WORDS

    def publish(self, bytes directory, bint keep=False) -> bool:
        """Say what the rows are about. Another directory begins all counts anew, unless told to ``keep`` them because
        it only appends. False: too long."""
        cdef char* at = <char*>self.view.buf
        if not self.writable:
            raise SegmentError("meters: a reader cannot publish")
        if 8 + len(directory) > DIRECTORY_BYTES:
            return False
        if self.directory == directory:
            return True
        mx_store_relaxed(<uint64_t*>at, 0)
        # Zeros that are written take memory, a page per row whether it is used or not; a hole reads as zeros.
        if not keep and madvise(self.base, self.rows * ROW_BYTES, MADV_REMOVE):
            memset(self.base, 0, self.rows * ROW_BYTES)  # no shared segment, as in a test
        (<char[:len(directory)]>(at + 8))[:] = bytearray(directory)
        mx_store_release(<uint64_t*>at, len(directory))  # SYNC POINT: meters directory
        return True

    @property
    def directory(self) -> bytes:
        """What was published; empty before."""
        cdef char* at = <char*>self.view.buf
        cdef uint64_t length = mx_load_acquire(<uint64_t*>at)  # SYNC POINT: meters directory
        length = min(length, <uint64_t>DIRECTORY - 8)
        return (at + 8)[:length]

    def count(self, Py_ssize_t row, int column, uint64_t amount=1) -> None:
        """Count up one of the row's counters; only the writer may."""
        if not self.writable or not 0 <= column < COUNTS:
            raise SegmentError(f"meters: column {column} of a {'' if self.writable else 'read-only '}row")
        meter_count(self.row(row), column, amount)

    def record(self, Py_ssize_t row, int64_t value_us) -> None:
        """Add a value to the row's histogram; only the writer may."""
        if not self.writable:
            raise SegmentError("meters: record in a read-only mapping")
        meter_record(self.row(row), value_us)

    def note(self, Py_ssize_t row, int column, int64_t value_us, uint64_t taken=0, uint64_t left=0) -> None:
        """One run of a component: count ``column``, record its time, add what it took and left to columns 4 and 5."""
        cdef uint64_t* at = self.row(row)
        if not self.writable or not 0 <= column < COUNTS:
            raise SegmentError(f"meters: column {column} of a {'' if self.writable else 'read-only '}row")
        meter_count(at, column, 1)
        meter_count(at, 4, taken)
        meter_count(at, 5, left)
        meter_record(at, value_us)

    def counts(self, Py_ssize_t row) -> list:
        """The row's counters."""
        cdef uint64_t* at = self.row(row)
        return [mx_load_relaxed(&at[column]) for column in range(COUNTS)]

    def sum_us(self, Py_ssize_t row) -> int:
        """The sum of a row's values, in microseconds."""
        return mx_load_relaxed(&self.row(row)[SUM])

    def histogram(self, Py_ssize_t row) -> tuple:
        """(sum in microseconds, {bucket: count}) of a row."""
        cdef uint64_t* at = self.row(row)
        cdef int bucket
        cdef uint64_t many
        found = {}
        for bucket in range(BUCKETS):
            many = mx_load_relaxed(&at[BUCKETS_AT + bucket])
            if many:
                found[bucket] = many
        return mx_load_relaxed(&at[SUM]), found
