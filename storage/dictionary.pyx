"""Sorted words with what belongs to each, front-coded in blocks of 16: found, run through by prefix, and by likeness.

A block begins with a whole word; of the next ones only what differs from the one before is stored. Likeness is the
edit distance with transpositions of neighbours (optimal string alignment); the words are walked as the trie that their
order makes them, and whole branches that are too far away already are stepped over.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cnp.import_array()

cdef enum:
    BLOCK_WORDS = 16
    BYTES_MAX = 260             # of a word
    POINTS_MAX = 68             # of a word
    INDEX_WORDS = 3             # of a block: where its words, the first list, and its positions begin
    LOOKED = 64                 # words between two looks at the clock

cdef extern from "bitpack.h" nogil:
    uint8_t* mixline_put_varint(uint8_t* out, uint32_t value) noexcept
    const uint8_t* mixline_take_varint(const uint8_t* read, uint32_t* value) noexcept

cdef extern from "moment.h" nogil:
    bint mixline_over(int64_t until_ns) noexcept

INDEX = np.dtype(("<u8", (3,)))


cdef struct Cursor:
    size_t at                   # number of the word
    const uint8_t* next
    uint8_t[BYTES_MAX] word
    uint32_t length
    uint32_t shared             # bytes that it has in common with the one before
    uint32_t count
    uint64_t start, size        # of its list
    uint64_t places, places_size


cdef inline int compared(const uint8_t* a, size_t a_length, const uint8_t* b, size_t b_length) noexcept nogil:
    cdef int found = memcmp(a, b, min(a_length, b_length))
    return found if found else (a_length > b_length) - (a_length < b_length)


def write_dictionary(words, const uint32_t[::1] counts, const uint64_t[::1] list_sizes,
                     const uint64_t[::1] place_sizes):
    cdef Py_ssize_t count = len(words), at, shared
    cdef bytes word, before = b""
    cdef uint8_t[BYTES_MAX + 40] entry
    cdef uint8_t* end
    cdef uint64_t lists = 0, places = 0
    heap = bytearray()
    index = np.zeros(((count + BLOCK_WORDS - 1) // BLOCK_WORDS, INDEX_WORDS), dtype=np.uint64)
    for at in range(count):
        word = words[at]
        if len(word) >= BYTES_MAX or (at and word <= before):
            raise ValueError(f"word {at}: {len(word)} bytes, or not above the one before")
        if at % BLOCK_WORDS == 0:
            index[at // BLOCK_WORDS] = len(heap), lists, places
            before = b""
        shared = 0
        while shared < min(len(word), len(before)) and word[shared] == before[shared]:
            shared += 1
        end = mixline_put_varint(entry, <uint32_t>shared)
        end = mixline_put_varint(end, <uint32_t>(len(word) - shared))
        memcpy(end, <const uint8_t*>word + shared, len(word) - shared)
        end = mixline_put_varint(end + len(word) - shared, counts[at])
        end = mixline_put_varint(end, <uint32_t>list_sizes[at])
        end = mixline_put_varint(end, <uint32_t>place_sizes[at])
        heap += entry[:end - entry]
        lists += list_sizes[at]
        places += place_sizes[at]
        before = word
    return index, np.frombuffer(bytes(heap), dtype=np.uint8)


cdef class Dictionary:
    cdef readonly Py_ssize_t count
    cdef object _index, _heap
    cdef const uint64_t* index
    cdef const uint8_t* heap
    cdef size_t blocks

    def __cinit__(self, cnp.ndarray index not None, cnp.ndarray heap not None, Py_ssize_t count):
        if index.dtype != np.uint64 or heap.dtype != np.uint8 or not index.flags.c_contiguous:
            raise ValueError("a dictionary is uint64 (blocks, 3) and uint8")
        self._index, self._heap, self.count = index, heap, count
        self.index, self.heap = <const uint64_t*>index.data, <const uint8_t*>heap.data
        self.blocks = index.shape[0]
        if self.blocks != <size_t>(count + BLOCK_WORDS - 1) // BLOCK_WORDS:
            raise ValueError(f"{self.blocks} blocks for {count} words")

    def __len__(self):
        return self.count

    cdef void read(self, Cursor* c) noexcept nogil:
        """Read the word at ``next`` on top of the one before."""
        cdef uint32_t rest, size, places
        c.next = mixline_take_varint(c.next, &c.shared)
        c.next = mixline_take_varint(c.next, &rest)
        memcpy(c.word + c.shared, c.next, rest)
        c.length = c.shared + rest
        c.next = mixline_take_varint(c.next + rest, &c.count)
        c.start += c.size
        c.places += c.places_size
        c.next = mixline_take_varint(c.next, &size)
        c.next = mixline_take_varint(c.next, &places)
        c.size, c.places_size = size, places

    cdef void open_block(self, Cursor* c, size_t block) noexcept nogil:
        c.at = block * BLOCK_WORDS
        c.next = self.heap + self.index[INDEX_WORDS * block]
        c.start, c.size = self.index[INDEX_WORDS * block + 1], 0
        c.places, c.places_size = self.index[INDEX_WORDS * block + 2], 0
        self.read(c)

    cdef bint step(self, Cursor* c) noexcept nogil:
        """Go on to the next word; whether there is one."""
        cdef Cursor fresh
        c.at += 1
        if c.at >= <size_t>self.count:
            return False
        if c.at % BLOCK_WORDS:
            self.read(c)
            return True
        fresh.length = c.length
        memcpy(fresh.word, c.word, c.length)
        self.open_block(c, c.at // BLOCK_WORDS)
        c.shared = 0
        while c.shared < min(c.length, fresh.length) and c.word[c.shared] == fresh.word[c.shared]:
            c.shared += 1
        return True

    cdef bint seek(self, Cursor* c, const uint8_t* word, size_t length) noexcept nogil:
        """Go to the first word that is not below; whether there is one."""
        cdef size_t low = 0, high = self.blocks, middle
        cdef uint32_t shared, own
        cdef const uint8_t* at
        if not self.count:
            return False
        while low < high:
            middle = (low + high) // 2
            at = mixline_take_varint(self.heap + self.index[INDEX_WORDS * middle], &shared)
            at = mixline_take_varint(at, &own)
            if compared(at, own, word, length) <= 0:
                low = middle + 1
            else:
                high = middle
        self.open_block(c, low - 1 if low else 0)
        while compared(c.word, c.length, word, length) < 0:
            if not self.step(c):
                return False
        return True

    def find(self, bytes word not None):
        cdef Cursor c
        if self.seek(&c, word, len(word)) and c.length == <size_t>len(word) and not memcmp(
                c.word, <const uint8_t*>word, c.length):
            return c.count, c.start, c.size, c.places
        return None

    def words(self, Py_ssize_t start=0, Py_ssize_t stop=-1):
        cdef Cursor c
        stop = self.count if stop < 0 else min(stop, self.count)
        found = []
        if start < 0 or start >= stop:
            return found
        self.open_block(&c, start // BLOCK_WORDS)
        while c.at < <size_t>start:
            self.step(&c)
        for _ in range(start, stop):
            found.append((c.word[:c.length], c.count, c.start, c.size, c.places))
            self.step(&c)
        return found

    def beginning(self, bytes prefix not None, Py_ssize_t most, Py_ssize_t looks):
        """The ``most`` commonest words that begin so."""
        cdef Cursor c
        cdef size_t length = len(prefix)
        cdef uint32_t least = 0
        found = []
        more = self.seek(&c, prefix, length)
        while more and looks and c.length >= length and not memcmp(c.word, <const uint8_t*>prefix, length):
            looks -= 1
            if c.count > least or len(found) < most:
                found.append((c.word[:c.length], c.count, c.start, c.size, c.places))
                if len(found) >= 4 * most:
                    found.sort(key=commonness)
                    del found[most:]
                    least = found[most - 1][1]      # [-1] would not be the last here: nothing wraps around
            more = self.step(&c)
        found.sort(key=commonness)
        return found[:most]

    def near(self, str word not None, int distance, int same, Py_ssize_t most, Py_ssize_t looks, int64_t until_ns=0):
        """Words within an edit distance that share the first ``same`` characters: the nearest, then the commonest."""
        cdef uint32_t[POINTS_MAX] asked
        cdef uint32_t[POINTS_MAX] points
        cdef uint32_t[POINTS_MAX] ends              # bytes up to each code point of the word at hand
        cdef uint8_t[POINTS_MAX + 1][POINTS_MAX + 1] rows
        cdef Cursor c
        cdef int n = min(<int>len(word), <int>POINTS_MAX - 4), i, depth = 0, dead
        cdef bytes head = word[:same].encode("utf-8", "surrogatepass")
        cdef bint more
        if not n or n < same:
            return []
        for i in range(n):
            asked[i] = <uint32_t>ord(word[i])
            rows[0][i] = <uint8_t>i
        rows[0][n] = <uint8_t>n
        found = []
        more = self.seek(&c, head, len(head))
        c.shared = 0
        while more and looks and c.length >= <size_t>len(head) and not memcmp(c.word, <const uint8_t*>head, len(head)):
            looks -= 1
            if looks % LOOKED == 0 and mixline_over(until_ns):
                break
            while depth and ends[depth - 1] > c.shared:
                depth -= 1
            dead = follow(&c, asked, n, points, ends, rows, &depth, distance)
            if dead == 0 and rows[depth][n] <= distance:
                found.append((rows[depth][n], c.word[:c.length], c.count))
            if not dead:
                more = self.step(&c)
                continue
            # No word that goes on like this can be near enough: over to where another branch begins.
            more = self.leave(&c, ends[dead - 1])
            depth = min(depth, dead)
        found.sort(key=nearness)
        return found[:most]

    cdef bint leave(self, Cursor* c, uint32_t length) noexcept nogil:
        """Go to the first word behind those that begin with the first ``length`` bytes of the one at hand."""
        cdef uint8_t[BYTES_MAX + 1] branch
        memcpy(branch, c.word, length)
        branch[length] = 0xFF                       # above all that UTF-8 has
        if not self.seek(c, branch, length + 1):
            return False
        c.shared = 0
        while c.shared < min(length, c.length) and c.word[c.shared] == branch[c.shared]:
            c.shared += 1
        return True


cdef int follow(Cursor* c, const uint32_t* asked, int n, uint32_t* points, uint32_t* ends,
                uint8_t[POINTS_MAX + 1][POINTS_MAX + 1] rows, int* depth, int distance) noexcept nogil:
    """Bring the rows of distances up to the word at hand from ``depth`` on; the depth at which it is too far away
    already, 0 where it is not."""
    cdef uint32_t at = ends[depth[0] - 1] if depth[0] else 0
    cdef uint32_t point, length
    cdef int d = depth[0], j, least
    cdef uint8_t here
    while at < c.length:
        if d + 1 >= POINTS_MAX:
            return d
        length = point_at(c.word + at, &point)
        d += 1
        at += length
        points[d - 1], ends[d - 1] = point, at
        rows[d][0] = <uint8_t>d
        least = d
        for j in range(1, n + 1):
            here = min(rows[d - 1][j] + 1, rows[d][j - 1] + 1)
            here = min(here, rows[d - 1][j - 1] + (points[d - 1] != asked[j - 1]))
            if d > 1 and j > 1 and points[d - 1] == asked[j - 2] and points[d - 2] == asked[j - 1]:
                here = min(here, rows[d - 2][j - 2] + 1)
            rows[d][j] = here
            least = min(least, here)
        depth[0] = d
        if least > distance:
            return d
    return 0


cdef inline uint32_t point_at(const uint8_t* raw, uint32_t* point) noexcept nogil:
    """The code point that begins here, and its bytes."""
    if raw[0] < 0x80:
        point[0] = raw[0]
        return 1
    if raw[0] < 0xE0:
        point[0] = (raw[0] & 0x1F) << 6 | raw[1] & 0x3F
        return 2
    if raw[0] < 0xF0:
        point[0] = (raw[0] & 0x0F) << 12 | (raw[1] & 0x3F) << 6 | raw[2] & 0x3F
        return 3
    point[0] = (raw[0] & 0x07) << 18 | (raw[1] & 0x3F) << 12 | (raw[2] & 0x3F) << 6 | raw[3] & 0x3F
    return 4


def commonness(entry):
    return -entry[1], entry[0]


def nearness(entry):
    return entry[0], -entry[2], entry[1]
