"""Counters and log-linear histograms in a shared segment; bodies here, so that a loop in C inlines the recording."""

from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint64_t

from mixline.ipc.words cimport mx_load_relaxed, mx_store_relaxed

cdef enum:
    DIRECTORY = 131072      # bytes before the first row
    COUNTS = 16             # words of a row that the owner names
    SUM = COUNTS            # then the sum of all values, in microseconds
    BUCKETS_AT = 32
    BUCKETS = 480
    ROW_WORDS = BUCKETS_AT + BUCKETS  # a row is a page, so rows that nobody writes take no memory


cdef extern from "meters.h" nogil:
    int mx_bucket_of(uint64_t value) noexcept


cdef inline void meter_count(uint64_t* row, int column, uint64_t amount) noexcept nogil:
    mx_store_relaxed(&row[column], mx_load_relaxed(&row[column]) + amount)


cdef inline void meter_record(uint64_t* row, int64_t value_us) noexcept nogil:
    cdef uint64_t value = value_us if value_us > 0 else 0
    meter_count(row, SUM, value)
    meter_count(row, BUCKETS_AT + mx_bucket_of(value), 1)


cdef class Meters:
    cdef Py_buffer view
    cdef bint held
    cdef uint64_t* base
    cdef readonly Py_ssize_t rows
    cdef readonly bint writable

    cdef uint64_t* row(self, Py_ssize_t at) except NULL
