"""Builds a proximity graph by inserting nodes in rounds, with as many threads as one likes and always the same result.

A round's nodes search the graph as it was before the round, each for itself, and choose neighbours that lie in
different directions (robust pruning; Jayaram Subramanya et al., DiskANN, 2019). Then each node that was chosen takes
its new neighbours, in the order of their rows, and is pruned when it has too many. Rounds double, up to a fiftieth of
all (Dobson et al., ParlayANN, 2024). No step depends on which thread did what. At last whatever the entries do not
reach is attached.
"""

import queue
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from libc.stdint cimport int8_t, int16_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from mixline.kernels.beam cimport (
    Asked,
    BATCH,
    Beam,
    Graph,
    MIXLINE_ROWCODE_STEP,
    ROWS_MAX,
    begin,
    distance_of,
    dot_rows_fn,
    hop,
    mixline_choose_rows,
    row_of,
    score,
)

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.isa import checked, in_use

cdef enum:
    PARTS = 4             # of a node's factors: a, b, e, and one unused
    CANDIDATES = 2 * BATCH  # the nearest of which a node chooses
    CHUNK = 64            # nodes that a thread takes at once
    ROUND_SHARE = 50
    ROUND_MIN = 256
    SHORT = 32            # the beam of a walk that ought to find a row
    COVERED = 4           # one row in two to that power is walked for
    NEAREST = 4           # neighbours that tell whether a walk was near
    LEVEL_MIN = 32        # rows of the sparsest level

_LEVELS = (10, 8, 6, 4)    # a level has one row in two to that power
_ENTRIES_TIMES = 7        # so many more entries may be made
_EXPRESS_SHARE = 5         # of a row's links, for each level that it is in

cdef dot_rows_fn dot_rows = NULL


def choose_path(isa):
    global dot_rows
    cdef const char* name = NULL
    cdef bytes encoded = checked(isa).encode()
    dot_rows = mixline_choose_rows(encoded, &name)
    return name.decode()


choose_path(in_use())


cdef inline void ask_row(const Graph* graph, Asked* asked, uint32_t row) noexcept nogil:
    """The row itself as the query: its distances are half of the squared ones, less half its squared length."""
    cdef const int8_t* codes = graph.codes + row * graph.width
    cdef const float* factors = graph.factors + row * PARTS
    cdef Py_ssize_t at
    for at in range(graph.width):
        asked.query[at] = codes[at]
    asked.scale, asked.bias, asked.extra = factors[0], 1.0, factors[2]


cdef inline float squared(const Graph* graph, uint32_t row, uint64_t entry) noexcept nogil:
    """The squared distance from ``row`` of an entry that was scored with it asked."""
    cdef float found = 2.0 * (distance_of(entry) - graph.factors[row * PARTS + 1])
    return found if found > 0.0 else 0.0


cdef void sort_words(uint64_t* words, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at, hole
    cdef uint64_t moving
    for at in range(1, size):
        moving = words[at]
        hole = at
        while hole > 0 and words[hole - 1] > moving:
            words[hole] = words[hole - 1]
            hole -= 1
        words[hole] = moving


cdef Py_ssize_t prune(const Graph* graph, Asked* asked, uint32_t row, const uint64_t* candidates, Py_ssize_t count,
                      Py_ssize_t most, float alpha, uint32_t* chosen) noexcept nogil:
    """Of ascending candidates choose the nearest, drop those that lie ``alpha`` times nearer to it, and so on."""
    cdef uint32_t rows[CANDIDATES]
    cdef float distances[CANDIDATES]
    cdef uint64_t entries[BATCH]
    cdef Py_ssize_t at, start, size, kept, held, found = 0
    cdef uint32_t best
    count = min(count, <Py_ssize_t>CANDIDATES)
    for at in range(count):
        rows[at] = row_of(candidates[at])
        distances[at] = squared(graph, row, candidates[at])
    held = count
    while held and found < most:
        best = rows[0]
        chosen[found] = best
        found += 1
        if found == most:
            break
        ask_row(graph, asked, best)
        kept, start = 0, 1
        while start < held:
            size = min(<Py_ssize_t>BATCH, held - start)
            score(graph, asked, rows + start, size, entries)
            for at in range(size):
                rows[kept], distances[kept] = rows[start + at], distances[start + at]
                kept += alpha * squared(graph, best, entries[at]) > distances[kept]
            start += size
        held = kept
    return found


cdef class _Hand:
    """The working memory of one thread."""

    cdef Graph graph
    cdef Asked asked
    cdef Beam beam
    cdef uint32_t* neighbours
    cdef Py_ssize_t most
    cdef float alpha

    def __cinit__(self, uint32_t[:, ::1] neighbours, const int8_t[:, ::1] codes, const float[:, ::1] factors,
                  Py_ssize_t most, Py_ssize_t width, float alpha):
        self.graph.dot_rows = dot_rows
        self.graph.codes, self.graph.factors = &codes[0, 0], &factors[0, 0]
        self.graph.neighbours = self.neighbours = &neighbours[0, 0]
        self.graph.count, self.graph.width = codes.shape[0], codes.shape[1]
        self.graph.degree, self.graph.parts = neighbours.shape[1], PARTS
        self.beam.width = self.beam.limit = width
        self.most, self.alpha = most, alpha * alpha
        self.asked.query = <int16_t*>malloc(codes.shape[1] * sizeof(int16_t))
        self.beam.entries = <uint64_t*>malloc((width + BATCH) * sizeof(uint64_t))
        self.beam.seen = <uint64_t*>malloc(((codes.shape[0] + 63) >> 6) * sizeof(uint64_t))
        if self.asked.query == NULL or self.beam.entries == NULL or self.beam.seen == NULL:
            raise MemoryError(f"no memory to link {codes.shape[0]} rows")

    def __dealloc__(self):
        free(self.asked.query)
        free(self.beam.entries)
        free(self.beam.seen)

    cdef void write(self, uint32_t row, const uint32_t* chosen, Py_ssize_t count) noexcept nogil:
        cdef uint32_t* own = self.neighbours + row * self.graph.degree
        cdef Py_ssize_t at
        for at in range(self.graph.degree):
            own[at] = chosen[at] if at < count else row

    cdef Py_ssize_t taken(self, uint32_t row) noexcept nogil:
        cdef const uint32_t* own = self.neighbours + row * self.graph.degree
        cdef Py_ssize_t at = 0
        while at < self.graph.degree and own[at] != row:
            at += 1
        return at

    cdef void reduce(self, uint32_t row, const uint32_t* incoming, Py_ssize_t count, Py_ssize_t room,
                     Py_ssize_t most) noexcept nogil:
        """Give ``row`` the ``incoming`` neighbours too; pruned to ``most`` when they would be more than ``room``."""
        cdef uint64_t candidates[CANDIDATES + BATCH]
        cdef uint32_t listed[BATCH]
        cdef uint32_t* own = self.neighbours + row * self.graph.degree
        cdef Py_ssize_t at = 0, size, held = self.taken(row)
        if held + count <= room:
            for at in range(count):
                own[held + at] = incoming[at]
            return
        ask_row(&self.graph, &self.asked, row)
        score(&self.graph, &self.asked, own, held, candidates)
        while at < count:
            size = min(<Py_ssize_t>BATCH, count - at)
            score(&self.graph, &self.asked, incoming + at, size, candidates + held)
            held += size
            at += size
            sort_words(candidates, held)
            held = min(held, <Py_ssize_t>CANDIDATES)
        sort_words(candidates, held)
        self.write(row, listed, prune(&self.graph, &self.asked, row, candidates, held, most, self.alpha, listed))

    def insert(self, const uint32_t[::1] order, Py_ssize_t start, Py_ssize_t stop, const uint32_t[::1] entries):
        """Search for the nodes ``order[start:stop]`` and write their neighbours, which nobody reads before the end."""
        cdef uint32_t chosen[BATCH]
        cdef Py_ssize_t at, found
        with nogil:
            for at in range(start, stop):
                ask_row(&self.graph, &self.asked, order[at])
                begin(&self.graph, &self.asked, &self.beam, &entries[0], entries.shape[0])
                while hop(&self.graph, &self.asked, &self.beam):
                    pass
                found = prune(&self.graph, &self.asked, order[at], self.beam.entries, self.beam.held, self.most,
                              self.alpha, chosen)
                self.write(order[at], chosen, found)

    def accept(self, const uint64_t[::1] edges, const Py_ssize_t[::1] begins, Py_ssize_t start, Py_ssize_t stop,
               uint32_t[::1] sources):
        """Groups ``start .. stop`` of edges (target << 32 | source) that share a target."""
        cdef Py_ssize_t group, at
        with nogil:
            for group in range(start, stop):
                for at in range(begins[group], begins[group + 1]):
                    sources[at] = <uint32_t>edges[at]
                self.reduce(<uint32_t>(edges[begins[group]] >> 32), &sources[begins[group]],
                            begins[group + 1] - begins[group], self.graph.degree, self.most)

    def trim(self, const uint8_t[::1] rooms, Py_ssize_t start, Py_ssize_t stop):
        cdef Py_ssize_t row
        with nogil:
            for row in range(start, stop):
                self.reduce(<uint32_t>row, NULL, 0, rooms[row], rooms[row])

    def lengthen(self, const uint32_t[::1] rows, const uint32_t[:, ::1] links):
        """Give each of ``rows`` the links it does not have, while there is room."""
        cdef Py_ssize_t at, nth, place
        cdef uint32_t* own
        with nogil:
            for at in range(rows.shape[0]):
                own = self.neighbours + rows[at] * self.graph.degree
                for nth in range(links.shape[1]):
                    place = 0
                    while place < self.most and own[place] != links[at, nth] and own[place] != rows[at]:
                        place += 1
                    if place < self.most:
                        own[place] = links[at, nth]

    cdef void reach(self, uint32_t* stack, uint32_t row, uint64_t* reached) noexcept nogil:
        """Mark all that ``row`` leads to."""
        cdef Py_ssize_t held = 1, at
        cdef const uint32_t* own
        cdef uint32_t node
        if reached[row >> 6] >> (row & 63) & 1:
            return
        reached[row >> 6] |= <uint64_t>1 << (row & 63)
        stack[0] = row
        while held:
            held -= 1
            row = stack[held]
            own = self.neighbours + row * self.graph.degree
            for at in range(self.graph.degree):
                node = own[at]
                if node == row:
                    break
                if not reached[node >> 6] >> (node & 63) & 1:
                    reached[node >> 6] |= <uint64_t>1 << (node & 63)
                    stack[held] = node
                    held += 1

    cdef uint32_t host(self, uint32_t row, uint32_t last, const uint32_t* entries, Py_ssize_t count) noexcept nogil:
        """The nearest reached node with a free place, of those that a search meets; else ``last``, which has one."""
        cdef Py_ssize_t at
        ask_row(&self.graph, &self.asked, row)
        begin(&self.graph, &self.asked, &self.beam, entries, count)
        while hop(&self.graph, &self.asked, &self.beam):
            pass
        for at in range(self.beam.held):
            if self.taken(row_of(self.beam.entries[at])) < self.graph.degree:
                return row_of(self.beam.entries[at])
        return last

    cdef bint found(self, uint32_t row) noexcept nogil:
        """Whether the last walk came by ``row``, or by one of its nearest neighbours.

        A narrow beam passes a row by where many lie as near, and an entry there would cost every search and lead to
        nothing new.
        """
        cdef const uint32_t* own = self.neighbours + row * self.graph.degree
        cdef Py_ssize_t at
        if self.beam.seen[row >> 6] >> (row & 63) & 1:
            return True
        for at in range(min(<Py_ssize_t>NEAREST, self.taken(row))):
            if self.beam.seen[own[at] >> 6] >> (own[at] & 63) & 1:
                return True
        return False

    def cover(self, const uint32_t[::1] rows, uint32_t[::1] entries, Py_ssize_t held):
        """Of ``rows`` make entries those that a walk for them does not come near, while there is room; how many now."""
        cdef Py_ssize_t at
        with nogil:
            for at in range(rows.shape[0]):
                if held == entries.shape[0]:
                    break
                ask_row(&self.graph, &self.asked, rows[at])
                begin(&self.graph, &self.asked, &self.beam, &entries[0], held)
                while hop(&self.graph, &self.asked, &self.beam):
                    pass
                if not self.found(rows[at]):
                    entries[held] = rows[at]
                    held += 1
        return held

    def repair(self, const uint32_t[::1] entries, uint32_t[::1] stack, uint64_t[::1] reached):
        """Attach each node that the entries do not reach to one near it that they do; how many.

        Pruning left a place free in every node, so the one attached last has room, unless another took it: then it was
        attached later.
        """
        cdef Py_ssize_t at, attached = 0
        cdef uint32_t row, host, last = entries[0]
        with nogil:
            for at in range(entries.shape[0]):
                self.reach(&stack[0], entries[at], &reached[0])
            for at in range(self.graph.count):
                row = <uint32_t>at
                if reached[row >> 6] >> (row & 63) & 1:
                    continue
                host = self.host(row, last, &entries[0], entries.shape[0])
                self.neighbours[host * self.graph.degree + self.taken(host)] = row
                self.reach(&stack[0], row, &reached[0])
                last = row
                attached += 1
        return attached


def shuffled(Py_ssize_t count):
    """Rows in an order that has nothing to do with theirs (by the finaliser of MurmurHash3)."""
    mixed = np.arange(count, dtype=np.uint64)
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53), (33, 1)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.argsort(mixed, kind="stable").astype(np.uint32)


def _spread(pool, hands, Py_ssize_t start, Py_ssize_t stop, call):
    """``call(hand, start, stop)`` for chunks of the range, on as many threads as there are hands."""
    def one(at):
        hand = hands.get()
        try:
            call(hand, at, min(at + CHUNK, stop))
        finally:
            hands.put(hand)
    for _ in pool.map(one, range(start, stop, CHUNK)):
        pass


def _grouped(neighbours, rows):
    """Edges back to ``rows`` from whom they chose, as sorted words, and where each target's begin."""
    targets = neighbours[rows].astype(np.uint64)
    edges = (targets << np.uint64(32) | rows[:, None])[targets != rows[:, None]]
    edges.sort()
    heads = edges >> np.uint64(32)
    return edges, np.append(np.flatnonzero(np.diff(heads, prepend=heads[:1] + np.uint64(1))), len(edges))


def link(const int8_t[:, ::1] codes, const float[:, ::1] factors, Py_ssize_t degree, *, Py_ssize_t width=96,
         double alpha=1.2, Py_ssize_t slack=16, Py_ssize_t entries=0, int threads=1, advance=None):
    cdef Py_ssize_t count = codes.shape[0], done = 1, size
    if not 2 <= degree <= degree + slack <= BATCH or not 1 <= width <= CANDIDATES or threads < 1:
        raise KernelArgumentError(f"degree {degree} and slack {slack} of at most {BATCH} together, width {width} of at "
                                  f"most {CANDIDATES}, {threads} threads")
    if not 0 <= count < ROWS_MAX or codes.shape[1] % MIXLINE_ROWCODE_STEP or factors.shape[1] != PARTS or (
            factors.shape[0] != count):
        raise KernelArgumentError(f"codes of {codes.shape[0]} x {codes.shape[1]} bytes and factors of "
                                  f"{factors.shape[0]} x {factors.shape[1]}")
    order = shuffled(count)
    start = np.ascontiguousarray(order[:max(1, entries or int(count ** 0.5))])
    if not count:
        return np.empty((0, degree), dtype=np.uint32), start
    # What is far apart in the whole is near in a sample. A share of the rows keeps some links of the time when there
    # were no others, as the levels of HNSW do: without them no walk leads from one of many tight clusters to another.
    shares = [share for share in _LEVELS if count >> share >= LEVEL_MIN]
    levels, express = [], (degree - 1) // _EXPRESS_SHARE
    rooms = np.full(count, degree - 1, dtype=np.uint8)
    neighbours = np.repeat(np.arange(count, dtype=np.uint32)[:, None], degree + slack, axis=1)
    hands = queue.SimpleQueue()
    for _ in range(threads):
        hands.put(_Hand(neighbours, codes, factors, degree - 1, width, alpha))
    with ThreadPoolExecutor(threads) as pool:
        while done < count:
            size = min(done, max(count // ROUND_SHARE, ROUND_MIN), count - done)
            met = start[:done]
            _spread(pool, hands, done, done + size, lambda hand, at, stop: hand.insert(order, at, stop, met))
            edges, begins = _grouped(neighbours, order[done:done + size])
            sources = np.empty(len(edges), dtype=np.uint32)
            _spread(pool, hands, 0, len(begins) - 1,
                    lambda hand, at, stop: hand.accept(edges, begins, at, stop, sources))
            done += size
            while shares and done >= count >> shares[0]:
                levels.append(np.ascontiguousarray(neighbours[order[:done], :express]))
                rooms[order[:done]] -= express
                shares.pop(0)
            if advance is not None:
                advance(size)
        _spread(pool, hands, 0, count, lambda hand, at, stop: hand.trim(rooms, at, stop))
    del hands
    neighbours = np.ascontiguousarray(neighbours[:, :degree])
    hand = _Hand(neighbours, codes, factors, degree - 1, width, alpha)
    for links in levels:
        hand.lengthen(order[:len(links)], links)
    # A cluster that no walk finds has rows in this sample; the first of them becomes an entry, and leads to the others.
    met = np.concatenate([start, np.zeros(_ENTRIES_TIMES * len(start), dtype=np.uint32)])
    start = met[:_Hand(neighbours, codes, factors, degree - 1, SHORT, alpha).cover(
        order[len(start):max(len(start), count >> COVERED)], met, len(start))].copy()
    hand.repair(start, np.empty(count, dtype=np.uint32), np.zeros((count + 63) >> 6, dtype=np.uint64))
    return neighbours, start
