"""The load generator's loop: shots leave on a schedule without the GIL, and latency counts from the intended time.

A generator that waits for replies slows down with the server and hides its queue (coordinated omission); one that
shares an interpreter with its own bookkeeping is late and blames the server. This loop takes a finished schedule and
prepared bytes, writes plain arrays, sleeps in ppoll between shots and never spins, and measures what it cost itself.
"""

import os
import threading
import time

import numpy as np

from libc.stdint cimport int16_t, int64_t, uint16_t, uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from mixline.tools.flight import Flight


cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* out) noexcept
    const int CLOCK_MONOTONIC
    const int CLOCK_THREAD_CPUTIME_ID

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <poll.h>
    #include <string.h>
    #include <sys/prctl.h>
    """
    int ppoll(pollfd* fds, unsigned long count, const timespec* timeout, const void* mask) noexcept nogil
    void* memmem(const void* hay, size_t hay_size, const void* needle, size_t needle_size) noexcept nogil
    int prctl(int option, unsigned long value) noexcept nogil
    const int PR_SET_TIMERSLACK

cdef enum:
    BURST = 64  # shots sent before replies are looked at again
    NAP_MAX_NS = 100_000_000  # how soon a halt is seen
    GRID_NS = 500_000
CLOSED_RATE_MAX = 500_000  # shots per second that a closed loop has room to record


cdef int64_t now_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec * <int64_t>1_000_000_000 + at.tv_nsec


cdef int64_t thread_cpu_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at)
    return at.tv_sec * <int64_t>1_000_000_000 + at.tv_nsec


cdef bint is_expected(const Record* record, uint32_t which, const char* body, size_t size) noexcept nogil:
    cdef uint32_t at
    if record.bounds == NULL:
        return True
    for at in range(record.bounds[which], record.bounds[which + 1]):
        if memmem(body, size, record.fragments[at].data, record.fragments[at].size) == NULL:
            return False
    return True


cdef void settle(Record* record, int64_t request_id, int status, const char* body, size_t size,
                 int attempt) noexcept nogil:
    """Enter one reply, or one failure; a reply to nothing that is open is counted and otherwise ignored."""
    cdef int64_t shot = request_id - record.first_id
    cdef int64_t at
    if shot < 0 or shot >= record.sent:
        record.strangers += 1
        return
    if record.status[shot] != PENDING:
        record.doubled += 1
        return
    record.latency_ns[shot] = now_ns() - record.start_ns - record.due_ns[shot]
    record.status[shot] = <int16_t>status
    record.reply_bytes[shot] = <int64_t>size
    record.attempt[shot] = <uint16_t>attempt
    record.done += 1
    if status == record.good and not is_expected(record, record.which[shot], body, size):
        record.wrong += 1
    if record.keep_every and body != NULL and shot % record.keep_every == 0:
        at = shot // record.keep_every
        record.kept[at] = <char*>malloc(size if size else 1)
        if record.kept[at] != NULL:
            memcpy(record.kept[at], body, size)
            record.kept_bytes[at] = <int64_t>size


cdef class Transport:
    """How prepared requests reach a server. Subclasses own the connections; one run uses one transport."""

    cdef int start(self) except -1:
        """Be ready for a run."""
        return 0

    cdef bint send(self, Record* record, int64_t shot) noexcept nogil:
        """Let one shot leave; False when no connection is free for it."""
        return False

    cdef int receive(self, Record* record, int64_t until_ns) noexcept nogil:
        """Settle what came, no longer than ``until_ns`` (offset); the count. ``record.more`` when it broke off."""
        return 0

    cdef int finish(self) except -1:
        """Let nothing of the run that ended reach the next one."""
        return 0


cdef class Volley:
    """Runs shots over a transport, one run at a time.

    ``expect`` gives for each prepared request the byte strings that every good reply to it must contain; a reply that
    lacks one is counted as wrong.
    """

    cdef Record record
    cdef Transport transport
    cdef int64_t next_id, grace_ns, window_ns, window_done, in_flight, loop_cpu_ns, wall_ns
    cdef bint halted
    cdef bint dense  # shots are due more often than every GRID_NS
    cdef object expect
    cdef Fragment* fragments
    cdef object bounds

    def __cinit__(self, Transport transport not None, expect=None):
        self.transport = transport
        self.next_id = 1
        self.fragments = NULL
        memset(&self.record, 0, sizeof(Record))
        if expect is not None:
            self.take_expectations([[bytes(one) for one in each] for each in expect])

    cdef int take_expectations(self, list expect) except -1:
        cdef bytes one
        cdef Py_ssize_t at = 0
        if len(expect) != self.transport.request_count:
            raise ValueError(f"expect: {len(expect)} lists for {self.transport.request_count} prepared requests")
        self.expect = expect  # owns the bytes
        self.bounds = np.cumsum([0] + [len(each) for each in expect], dtype=np.uint32)
        self.fragments = <Fragment*>malloc(sizeof(Fragment) * (int(self.bounds.max()) + 1))
        if self.fragments == NULL:
            raise MemoryError
        for each in expect:
            for one in each:
                self.fragments[at].data, self.fragments[at].size = one, len(one)
                at += 1
        return 0

    def __dealloc__(self):
        free(self.fragments)

    def open(self, due_ns, which, grace_s=2.0, keep_every=0):
        """Open loop. ``due_ns`` int64 (n), ascending offsets from the start; ``which`` uint32 (n).

        Ends when every shot is answered, or ``grace_s`` after the last was due.
        """
        due_ns = np.ascontiguousarray(due_ns, np.int64)
        if len(due_ns) and (due_ns[0] < 0 or (np.diff(due_ns) < 0).any()):
            raise ValueError("due_ns: must ascend from 0")
        self.grace_ns, self.in_flight = int(grace_s * 1e9), 0
        return self.run(due_ns, which, int(keep_every))

    def closed(self, which, in_flight, seconds, grace_s=2.0, keep_every=0):
        """Closed loop: ``in_flight`` at once for ``seconds``; requests ``which`` in turn. Counts from each send."""
        if in_flight < 1 or not seconds > 0:
            raise ValueError(f"in_flight {in_flight}, seconds {seconds}: must be positive")
        total = int(seconds * CLOSED_RATE_MAX) + in_flight
        self.grace_ns, self.in_flight, self.window_ns = int(grace_s * 1e9), in_flight, int(seconds * 1e9)
        which = np.resize(np.ascontiguousarray(which, np.uint32), total) if len(which) else which
        return self.run(np.zeros(total, np.int64), which, int(keep_every))

    cdef object run(self, due_ns, which, int64_t keep_every):
        cdef int64_t[::1] due = due_ns
        cdef int64_t total = len(due)
        cdef const uint32_t[::1] chosen = np.ascontiguousarray(which, np.uint32)
        cdef const uint32_t[::1] bounds
        if not total or len(chosen) != total:
            raise ValueError(f"{total} times and {len(chosen)} requests: must be as many, and at least one")
        if np.max(which) >= self.transport.request_count:
            raise ValueError(f"which: {np.max(which)} of {self.transport.request_count} prepared requests")
        arrays = {
            "status": np.full(total, PENDING, np.int16), "latency_ns": np.zeros(total, np.int64),
            "lateness_ns": np.zeros(total, np.int64), "reply_bytes": np.zeros(total, np.int64),
            "attempt": np.zeros(total, np.uint16),
        }
        kept = total // keep_every + 1 if keep_every else 0
        pointers, sizes = np.zeros(kept, np.uintp), np.zeros(kept, np.int64)
        memset(&self.record, 0, sizeof(Record))
        self.record.total, self.record.first_id = total, self.next_id
        self.next_id += total
        self.record.due_ns, self.record.which = &due[0], &chosen[0]
        self.record.status = <int16_t*><uintptr_t>arrays["status"].ctypes.data
        self.record.latency_ns = <int64_t*><uintptr_t>arrays["latency_ns"].ctypes.data
        self.record.lateness_ns = <int64_t*><uintptr_t>arrays["lateness_ns"].ctypes.data
        self.record.reply_bytes = <int64_t*><uintptr_t>arrays["reply_bytes"].ctypes.data
        self.record.attempt = <uint16_t*><uintptr_t>arrays["attempt"].ctypes.data
        self.record.keep_every, self.record.good = keep_every, self.transport.good
        self.record.kept = <char**><uintptr_t>pointers.ctypes.data
        self.record.kept_bytes = <int64_t*><uintptr_t>sizes.ctypes.data
        if self.fragments != NULL:
            bounds = self.bounds
            self.record.fragments, self.record.bounds = self.fragments, &bounds[0]
        try:
            threads, process_ns = self.fly()
        finally:
            bodies = self.take_bodies(pointers, sizes)
        return self.account(due_ns, which, arrays, bodies, threads, process_ns)

    cdef tuple fly(self):
        """The loop in a thread of its own, so that the caller's can be interrupted; CPU of the other threads."""
        self.transport.start()
        self.halted = self.dense = False
        helpers = [] if self.in_flight else io_threads()
        put_first(helpers, True)
        before, process_ns = other_threads_cpu_ns(), time.process_time_ns()
        thread = threading.Thread(target=self._loop, name="volley")
        thread.start()
        try:
            thread.join()
        except BaseException:
            self.halted = True
            thread.join()
            raise
        finally:
            put_first(helpers, False)
            self.transport.finish()
        after = other_threads_cpu_ns()
        spent = [after[one] - before.get(one, 0) for one in after]
        return spent, time.process_time_ns() - process_ns

    def _loop(self):
        cdef int64_t cpu_ns
        if not self.in_flight:  # a closed loop is never idle: it must not take a core from those it drives
            put_first([0], True)
        with nogil:
            prctl(PR_SET_TIMERSLACK, 1)
            cpu_ns = thread_cpu_ns()
            self.record.start_ns = now_ns()
            if self.in_flight:
                self.fly_closed()
            else:
                self.fly_open()
            self.wall_ns = now_ns() - self.record.start_ns
            self.loop_cpu_ns = thread_cpu_ns() - cpu_ns

    cdef void fly_open(self) noexcept nogil:
        cdef Record* record = &self.record
        self.dense = record.total > 1 and record.due_ns[record.total - 1] < (record.total - 1) * GRID_NS
        cdef int64_t now, until, end = record.due_ns[record.total - 1] + self.grace_ns
        while record.done < record.total and not self.halted:
            self.notice(record)
            until = record.due_ns[record.noticed] if record.noticed < record.total else end
            self.transport.receive(record, until)
            now = now_ns() - record.start_ns
            if record.noticed == record.total and now >= end:
                break
            # A send may swallow the announcement of a reply, so nothing sleeps between a send and a receive.
            if self.catch_up(record) == 0 and not record.more and until > now:
                self.nap(until - now)

    cdef void notice(self, Record* record) noexcept nogil:
        """Let the shots leave whose time has come; lateness is this loop's own, not that of a busy connection."""
        cdef int64_t now
        cdef int burst = 0
        while record.noticed < record.total and burst < BURST:
            now = now_ns() - record.start_ns
            if record.due_ns[record.noticed] > now:
                return
            record.lateness_ns[record.noticed] = now - record.due_ns[record.noticed]
            record.noticed += 1
            burst += 1
            if record.sent == record.noticed - 1:
                self.fire(record)

    cdef bint fire(self, Record* record) noexcept nogil:
        record.sent += 1  # before the reply can come
        if self.transport.send(record, record.sent - 1):
            return True
        record.sent -= 1
        return False

    cdef int catch_up(self, Record* record) noexcept nogil:
        cdef int burst = 0
        while record.sent < record.noticed and burst < BURST and self.fire(record):
            burst += 1
        return burst

    cdef void fly_closed(self) noexcept nogil:
        cdef Record* record = &self.record
        cdef int64_t now = 0, end = self.window_ns + self.grace_ns
        cdef bint over = False
        while not self.halted:
            now = now_ns() - record.start_ns
            if not over and (now >= self.window_ns or record.sent == record.total):
                over, self.window_ns, self.window_done = True, now, record.done
            if over and (record.done == record.sent or now >= end):
                return
            while not over and record.sent - record.done < self.in_flight and record.sent < record.total:
                record.due_ns[record.sent] = now_ns() - record.start_ns
                if not self.fire(record):
                    break
            if self.transport.receive(record, end) == 0:
                self.nap((end if over else self.window_ns) - now)
        if not over:
            self.window_ns, self.window_done = now, record.done

    cdef void nap(self, int64_t span_ns) noexcept nogil:
        """Until a reply or for so long. Where shots are due more often than every half millisecond, sleep on a grid of
        that and serve replies by the batch: a wake-up per message would take from the server what is to be measured."""
        cdef timespec span
        if self.dense:
            span.tv_sec, span.tv_nsec = 0, GRID_NS
            ppoll(NULL, 0, &span, NULL)
            span.tv_nsec = 0
            ppoll(self.transport.waits, self.transport.wait_count, &span, NULL)
            return
        span_ns = 0 if span_ns < 0 else min(span_ns, <int64_t>NAP_MAX_NS)
        span.tv_sec, span.tv_nsec = 0, span_ns
        ppoll(self.transport.waits, self.transport.wait_count, &span, NULL)

    cdef dict take_bodies(self, pointers, sizes):
        cdef char* data
        bodies = {}
        for at in np.flatnonzero(pointers).tolist():
            data = <char*><uintptr_t>pointers[at]
            bodies[at * self.record.keep_every] = data[:<Py_ssize_t>sizes[at]]
            free(data)
        return bodies

    cdef object account(self, due_ns, which, dict arrays, dict bodies, list threads, int64_t process_ns):
        cdef Record* record = &self.record
        count = record.sent if self.in_flight else record.total
        return Flight(
            due_ns=due_ns[:count], which=np.asarray(which)[:count],
            **{name: array[:count] for name, array in arrays.items()},
            sent=record.sent, doubled=record.doubled, strangers=record.strangers, malformed=record.malformed,
            reconnects=record.reconnects, wrong=record.wrong, bodies=bodies, wall_ns=self.wall_ns,
            window_ns=self.window_ns if self.in_flight else self.wall_ns,
            window_done=self.window_done if self.in_flight else record.done,
            loop_cpu_ns=self.loop_cpu_ns, busiest_cpu_ns=max(threads + [self.loop_cpu_ns]), process_cpu_ns=process_ns,
        )


def put_first(threads, first):
    """Let threads run before everything ordinary on a shared core, or not; False without the privilege.

    A generator that waits for its turn behind the server's processes reports their turns as latency. Niceness does not
    help where the kernel groups processes by session, so it is the lowest real-time priority; sleeping is all it does.
    """
    policy, priority = (os.SCHED_RR, 1) if first else (os.SCHED_OTHER, 0)
    try:
        for thread in threads:
            os.sched_setscheduler(thread, policy, os.sched_param(priority))
    except (PermissionError, ProcessLookupError):
        return False
    return True


def io_threads():
    """libzmq's I/O threads in this process, by thread id."""
    found = []
    for name in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{name}/comm") as file:
                if file.read().startswith("ZMQbg/IO"):
                    found.append(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return found


def other_threads_cpu_ns():
    """CPU that each thread of this process has had so far, by thread id."""
    spent = {}
    for name in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{name}/schedstat") as file:
                spent[int(name)] = int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return spent
