"""The message loop, without the GIL from one tick to the next.

It takes messages and replies in batches, so that under load a system call serves many of them, and lies down only when
there is nothing at all: libzmq's descriptor tells of changes alone, so its state is asked for once more before a sleep.
"""

from libc.stdint cimport int64_t
from posix.time cimport timespec

from mixline.ipc import counters
from mixline.node import limits

from mixline.ipc.clock cimport mx_now_ns
from mixline.ipc.waits cimport POLLIN, pollfd, ppoll, sched_yield
from mixline.ipc.words cimport DOZING, bell_lie_down, bell_rise
from mixline.node.broker_desk cimport Desk

cdef int64_t DOZE_NS = limits.doze_us * 1000
cdef int64_t GLANCE_NS = limits.glance_ms * 1_000_000
cdef int N_WAKES = counters.BROKER_COUNTERS.index("wakes")

REASONS = {"time": TIME, "control": CONTROL, "question": QUESTION, "broken": BROKEN, "arrived": ARRIVED}


cdef class Loop(Desk):
    """``control_fd`` is the supervisor's channel, only watched here. A transport sets ``socket_fd``."""

    def __cinit__(self, *_, int control_fd, **__):
        self.control_fd = control_fd
        self.socket_fd = -1

    cdef int receive(self) noexcept nogil:
        """Take a batch of messages from the socket; how many. The transport's part."""
        return 0

    cdef bint readable(self) noexcept nogil:
        """Whether a message waits. The transport's part."""
        return False

    def run(self, int64_t until_ns) -> int:
        """Serve until something wants Python, at the latest at ``until_ns``; why, as bits of :data:`REASONS`."""
        cdef int why
        with nogil:
            why = self.serve(until_ns)
        self.broken = False
        return why

    cdef int serve(self, int64_t until_ns) noexcept nogil:
        cdef int busy, why
        cdef int64_t now_ns
        while True:
            busy = self.receive()
            busy += self.collect()
            if not busy:
                self.pause()
                busy = self.receive()
                busy += self.collect()
            self.reclaim()
            now_ns = mx_now_ns()
            self.expire(now_ns)
            self.dispatch(now_ns)
            self.hedge(now_ns)
            why = self.reasons(now_ns, until_ns)
            if not why and (not busy or now_ns >= self.glance_at_ns):
                why = self.sleep(until_ns)
            if why:
                return why

    cdef void pause(self) noexcept nogil:
        """Let others have the core before the last look. While requests wait for workers that are all busy, nothing
        that comes is urgent until one is not: a core would be lost with each message, thousands of times a second."""
        if self.queue.count and self.places.idle() < 0:
            self.doze()
        else:
            sched_yield()

    cdef void doze(self) noexcept nogil:
        """Sleep for a moment, or until a worker has nothing left to do: one that merely gave way might get its core
        back only when the worker on it has, while another worker waits beside an idle one."""
        cdef pollfd bell
        cdef timespec nap
        nap.tv_sec, nap.tv_nsec = 0, DOZE_NS
        bell.fd, bell.events = self.bell_fd, POLLIN
        bell_lie_down(self.sleeping, DOZING)
        if not self.places.any_done():
            ppoll(&bell, 1, &nap, NULL)
        bell_rise(self.sleeping, self.bell_fd)

    cdef int reasons(self, int64_t now_ns, int64_t until_ns) noexcept nogil:
        return (TIME if now_ns >= until_ns else 0) | (QUESTION if self.question_count else 0) | (
            BROKEN if self.broken else 0)

    cdef int sleep(self, int64_t until_ns) noexcept nogil:
        """Wait for a message, a reply, the next deadline or the supervisor.

        Under load there is always a message, so this returns at once; the loop still comes here every few milliseconds.
        """
        cdef pollfd fds[3]
        cdef timespec timeout
        cdef int64_t now_ns, wait_ns = until_ns
        bell_lie_down(self.sleeping)
        if self.deadlines.count:
            wait_ns = min(wait_ns, <int64_t>self.deadlines.entries[0].major)
        now_ns = mx_now_ns()
        wait_ns = max(<int64_t>0, min(wait_ns, self.hedge_at_ns) - now_ns)
        if self.places.any_done() or self.readable():
            wait_ns = 0
        timeout.tv_sec, timeout.tv_nsec = wait_ns // 1_000_000_000, wait_ns % 1_000_000_000
        fds[0].fd, fds[1].fd, fds[2].fd = self.control_fd, self.bell_fd, self.socket_fd
        fds[0].events = fds[1].events = fds[2].events = POLLIN
        fds[0].revents = 0
        ppoll(fds, 3, &timeout, NULL)
        bell_rise(self.sleeping, self.bell_fd)
        self.count(N_WAKES)
        self.glance_at_ns = mx_now_ns() + GLANCE_NS
        return (CONTROL if fds[0].revents else 0) | (ARRIVED if self.places.any_ready(self.life) else 0)
