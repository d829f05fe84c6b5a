"""Who can take work now. Idle workers come first; only echoes, which are over before a second wake-up, may queue up.

The rings and words belong to :class:`mixline.ipc.seats.BrokerSide` objects, which this keeps alive; who is alive,
ready or retiring is decided in Python (:mod:`mixline.node.broker_crew`) and told by :meth:`Places.activate`.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from mixline.ipc import seats
from mixline.node import limits

from mixline.ipc.rings cimport Consumer, Fields, Producer, ring_push
from mixline.ipc.words cimport Words, bell_toll, mx_load_relaxed

cdef int SLEEPING_WORD = seats.SLEEPING * WORD
cdef int STATE_WORD = seats.STATE * WORD
cdef int ATTACHED_WORD = seats.ATTACHED * WORD
cdef uint64_t READY = seats.READY
cdef int HELD_ECHO_MAX = limits.held_echo_max

assert limits.held_max <= min(limits.ring_slots, HELD_MAX)
assert limits.held_echo_max <= limits.ring_slots and limits.held_echo_max <= HELD_MAX


cdef class Places:
    """One place per :class:`BrokerSide` in ``sides``."""

    def __cinit__(self, sides):
        cdef int number
        cdef Producer work, released
        cdef Consumer done
        cdef Words words, lent
        cdef const unsigned char[::1] arena
        self.keep = list(sides)
        self.count = len(self.keep)
        self.writer = -1
        self.at = <Place*>calloc(max(self.count, 1), sizeof(Place))
        self.active = <int32_t*>calloc(max(self.count, 1), sizeof(int32_t))
        self.standby = <int32_t*>calloc(max(self.count, 1), sizeof(int32_t))
        if self.at == NULL or self.active == NULL or self.standby == NULL:
            raise MemoryError()
        for number, side in enumerate(self.keep):
            work, done, released = side.work, side.done, side.released
            words, lent, arena = side.words, side.lent, side.arena
            self.at[number].work, self.at[number].done = &work.side, &done.side
            self.at[number].released = &released.side
            self.at[number].words, self.at[number].lent_words = words.base, lent.base
            self.at[number].arena = &arena[0]
            self.at[number].bell_fd = side.bell.fd
            self.at[number].seat = number

    def __dealloc__(self):
        free(self.at)
        free(self.active)
        free(self.standby)

    def activate(self, numbers, standby=()) -> None:
        """These seats get work, in this order of preference; those on ``standby`` only hedges, the others nothing."""
        chosen, spare = list(numbers), list(standby)
        for at, number in enumerate(chosen):
            self.active[at] = number
        for at, number in enumerate(spare):
            self.standby[at] = number
        self.active_count, self.standby_count = len(chosen), len(spare)

    def mend(self, int number) -> None:
        """The seat is as new: its last worker is gone and buried."""
        self.at[number].broken = self.at[number].noticed = False

    def notice(self, int number) -> None:
        """The worker in a seat is known to be ready."""
        self.at[number].noticed = True

    def held(self, int number) -> int:
        """How many requests the worker in a seat has in hand."""
        return self.at[number].held_count

    def is_broken(self, int number) -> bool:
        """Whether the seat's worker must go."""
        return self.at[number].broken

    def toll(self, int number) -> None:
        """Wake the worker in a seat."""
        bell_toll(&self.at[number].words[SLEEPING_WORD], self.at[number].bell_fd)

    cdef int idle(self) noexcept nogil:
        """An active place with nothing in hand, or -1."""
        cdef int at
        for at in range(self.active_count):
            if not self.at[self.active[at]].held_count and not self.at[self.active[at]].broken:
                return self.active[at]
        return -1

    cdef int steady(self) noexcept nogil:
        """How many workers are ready, those on standby too: one of them takes a dead one's place at once."""
        cdef int at, many = 0
        for at in range(self.active_count):
            many += not self.at[self.active[at]].broken
        for at in range(self.standby_count):
            many += not self.at[self.standby[at]].broken
        return many

    cdef int lightly_laden(self) noexcept nogil:
        """How many active places hold one request at most; 1 at least."""
        cdef int at, many = 0
        for at in range(self.active_count):
            many += self.at[self.active[at]].held_count <= 1 and not self.at[self.active[at]].broken
        return max(many, 1)

    cdef int spare(self) noexcept nogil:
        """An idle place that can be missed: a standby, or an active one while another is idle too; else -1."""
        cdef int at, found = -1, idle = 0
        for at in range(self.standby_count):
            if not self.at[self.standby[at]].held_count and not self.at[self.standby[at]].broken:
                return self.standby[at]
        for at in range(self.active_count):
            if not self.at[self.active[at]].held_count and not self.at[self.active[at]].broken:
                found = self.active[at]
                idle += 1
        return found if idle > 1 else -1

    cdef int choose(self, bint echo, bint second) noexcept nogil:
        """The place for a request, or -1: an idle one, else for an echo the one with the fewest. A second attempt runs
        alone, and nothing joins it."""
        cdef int at, best = self.idle()
        cdef Place* place
        if best >= 0 or not echo or second:
            return best
        for at in range(self.active_count):
            place = &self.at[self.active[at]]
            if place.broken or place.alone or not place.only_echoes or place.held_count >= HELD_ECHO_MAX:
                continue
            if best < 0 or place.held_count < self.at[best].held_count:
                best = self.active[at]
        return best

    cdef bint hand(self, Place* place, const Fields* fields, bint echo, bint second) noexcept nogil:
        """Give a descriptor to a place and remember it; False when the ring refused it, and the place is broken."""
        place.only_echoes = echo and (place.only_echoes or not place.held_count)
        place.alone = second
        place.held[place.held_count] = fields.slot
        place.held_count += 1
        if ring_push(place.work, fields) != 1:
            place.broken = True
            return False
        return True

    cdef bint drop(self, Place* place, uint32_t slot) noexcept nogil:
        """The place holds the slot no longer; False when it did not."""
        cdef int at
        for at in range(place.held_count):
            if place.held[at] == slot:
                place.held_count -= 1
                place.held[at] = place.held[place.held_count]
                if not place.held_count:
                    place.alone = False
                return True
        return False

    cdef bint any_done(self) noexcept nogil:
        """Whether some worker has published a reply that was not taken."""
        cdef int number
        for number in range(self.count):
            if self.at[number].broken:
                continue
            if mx_load_relaxed(&self.at[number].done.lines.tail) != self.at[number].done.own:  # ring_peek acquires
                return True
        return False

    cdef bint any_ready(self, uint64_t life) noexcept nogil:
        """Whether a worker has become ready in this life and nobody has noticed."""
        cdef int number
        cdef Place* place
        for number in range(self.count):
            place = &self.at[number]
            if not place.noticed and mx_load_relaxed(&place.words[STATE_WORD]) == READY:
                if mx_load_relaxed(&place.words[ATTACHED_WORD]) == life:
                    return True
        return False
