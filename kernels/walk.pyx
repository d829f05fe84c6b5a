"""Random walks over a bipartite graph of items and users: Pixie (Eksombatchai et al., WWW 2018, arXiv 1711.07601).

From an item to one of its users to one of their items, and now and then back to the seed; what is visited often is near
it. A step is two jumps into memory that nothing predicts, so sixteen walkers go at once, each fetching ahead what it
needs at its next turn. The numbers drawn depend on a key alone: the same key gives the same visits.
"""

import numpy as np

from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from mixline.kernels.accumulate cimport Scratch

from mixline.kernels.errors import KernelArgumentError

cdef extern from *:
    void prefetch "__builtin_prefetch" (const void* address) noexcept nogil

cdef enum:
    WALKERS = 16
    STEPS_MAX = 1 << 26

cdef struct Walker:
    uint64_t state
    int64_t place               # of the next user among the users of the item where it stands
    uint32_t item
    uint32_t user
    uint32_t chance             # of going back, drawn with the last item


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline uint64_t draw(Walker* walker) noexcept nogil:
    walker.state += <uint64_t>0x9E3779B97F4A7C15
    return mixed(walker.state)


cdef inline int64_t one_of(uint64_t drawn, int64_t first, int64_t end) noexcept nogil:
    """One of first .. end, by the high half of what was drawn."""
    return first + <int64_t>(((drawn >> 32) * <uint64_t>(end - first)) >> 32)


cdef inline uint64_t home(uint32_t item) noexcept nogil:
    """Fibonacci hashing, as for sums; the low bits are the slot."""
    return (<uint64_t>item * <uint64_t>0x9E3779B97F4A7C15) >> 32


cdef int check_ends(const int64_t[::1] ends, Py_ssize_t count) except -1:
    if not ends.shape[0] or ends[0] != 0 or ends[ends.shape[0] - 1] != count:
        raise KernelArgumentError(f"lists do not end with their {count} entries")
    return 0


cdef class Walk:
    cdef readonly Py_ssize_t steps
    cdef const int64_t[::1] item_ends, user_ends
    cdef const uint32_t[::1] users, items
    cdef Scratch sums
    cdef Walker walkers[WALKERS]
    cdef int64_t left, many, high, high_max, steps_max
    cdef uint32_t origin, back, visits_max
    cdef uint64_t* table        # of visits, hashed by item: the item + 1 above, their number below; 0: none
    cdef uint32_t* order        # slots in the order of the first visit
    cdef int64_t slots

    def __cinit__(self, const int64_t[::1] item_ends, const uint32_t[::1] users, const int64_t[::1] user_ends,
                  const uint32_t[::1] items, Scratch sums not None, *, int64_t steps_max, double restart,
                  int64_t stop_items, uint32_t stop_visits):
        cdef int64_t room
        self.item_ends, self.users, self.user_ends, self.items = item_ends, users, user_ends, items
        check_ends(item_ends, users.shape[0])
        check_ends(user_ends, items.shape[0])
        if not 1 <= steps_max <= STEPS_MAX or not 0 <= restart <= 1 or stop_items < 0:
            raise KernelArgumentError(f"steps_max = {steps_max}, restart = {restart}, stop_items = {stop_items}")
        self.sums, self.steps_max = sums, steps_max
        sums.clear()
        self.back = <uint32_t>min(restart * 4294967296.0, 4294967295.0)
        self.high_max, self.visits_max = stop_items, stop_visits
        room = min(steps_max, item_ends.shape[0])
        self.slots = 64
        while self.slots < 2 * room:
            self.slots *= 2
        self.table = <uint64_t*>calloc(self.slots, sizeof(uint64_t))
        self.order = <uint32_t*>calloc(self.slots, sizeof(uint32_t))
        if self.table == NULL or self.order == NULL:
            raise MemoryError(f"no memory for the visits of {steps_max} steps")

    def __dealloc__(self):
        free(self.table)
        free(self.order)

    cdef int visit(self, uint32_t item) noexcept nogil:
        """Count a visit; 1 when that is enough."""
        cdef uint64_t mask = <uint64_t>(self.slots - 1), key = <uint64_t>item + 1
        cdef uint64_t at = home(item) & mask
        while self.table[at] >> 32 != key:
            if self.table[at] == 0:
                self.table[at] = key << 32
                self.order[self.many] = <uint32_t>at
                self.many += 1
                break
            at = (at + 1) & mask
        self.table[at] += 1
        self.high += <uint32_t>self.table[at] == self.visits_max
        return self.high_max > 0 and self.high >= self.high_max

    def begin(self, uint32_t item, int64_t steps, uint64_t key):
        cdef int w
        if <Py_ssize_t>item + 1 >= self.item_ends.shape[0]:
            raise KernelArgumentError(f"item {item} lies outside a graph of {self.item_ends.shape[0] - 1}")
        if not 0 <= steps <= self.steps_max:
            raise KernelArgumentError(f"{steps} steps, of at most {self.steps_max}")
        self.collect()
        self.origin, self.left, self.high = item, steps, 0
        if self.item_ends[item] == self.item_ends[item + 1]:
            self.left = 0
        for w in range(WALKERS):
            self.walkers[w].state = mixed(key + <uint64_t>w * <uint64_t>0xD1342543DE82EF95)
            if self.left:
                self.walkers[w].place = one_of(draw(&self.walkers[w]), self.item_ends[item], self.item_ends[item + 1])

    def advance(self, int64_t most):
        if self.left > 0:
            with nogil:
                self.go(most)
        return self.left <= 0

    cdef void go(self, int64_t most) noexcept nogil:
        """At least ``most`` steps, or all that are left; each round is one step of every walker."""
        cdef Walker* walker
        cdef uint64_t drawn
        cdef int64_t place
        cdef int w, count
        while self.left > 0 and most > 0:
            count = <int>min(self.left, <int64_t>WALKERS)
            for w in range(count):
                walker = &self.walkers[w]
                walker.user = self.users[walker.place]
                prefetch(&self.user_ends[walker.user])
            for w in range(count):
                walker = &self.walkers[w]
                drawn = draw(walker)
                walker.chance = <uint32_t>drawn
                place = one_of(drawn, self.user_ends[walker.user], self.user_ends[walker.user + 1])
                walker.place = place
                prefetch(&self.items[place])
            for w in range(count):
                walker = &self.walkers[w]
                walker.item = self.items[walker.place]
                prefetch(&self.table[home(walker.item) & <uint64_t>(self.slots - 1)])
            for w in range(count):
                walker = &self.walkers[w]
                self.steps += 1
                if self.visit(walker.item):
                    self.left = 0
                    return
                if walker.chance < self.back:
                    walker.item = self.origin
                prefetch(&self.item_ends[walker.item])
            for w in range(count):
                walker = &self.walkers[w]
                walker.place = one_of(draw(walker), self.item_ends[walker.item], self.item_ends[walker.item + 1])
                prefetch(&self.users[walker.place])
            self.left -= count
            most -= count

    def collect(self):
        cdef int64_t i
        cdef uint32_t at
        for i in range(self.many):
            at = self.order[i]
            self.sums.add(<uint32_t>((self.table[at] >> 32) - 1), sqrt(<double><uint32_t>self.table[at]))
            self.table[at] = 0
        self.many = 0

    def result(self):
        cdef Py_ssize_t i
        self.collect()
        rows, scores = np.empty(self.sums.size, dtype=np.uint32), np.empty(self.sums.size, dtype=np.float32)
        cdef uint32_t[::1] rows_out = rows
        cdef float[::1] scores_out = scores
        for i in range(self.sums.size):
            rows_out[i] = self.sums.rows[i]
            scores_out[i] = <float>(self.sums.sums[i] * self.sums.sums[i] / self.steps)
        return rows, scores
