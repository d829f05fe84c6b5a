"""A beam over a proximity graph: the best nodes met so far, of which the best unexpanded one is expanded next.

Builder and search share it, so that a graph is searched as it was built; bodies here, to be inlined. An entry is one
word, so that order is one comparison: the distance's bits, made to ascend, then the row, then whether it was expanded.
Distances are minus (sum x a x scale + b x bias [+ e x extra]), with the row's a, b and e: for l2 half the squared
distance but for a constant, for dot and cosine minus the product.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef extern from "rowcodes.h" nogil:
    ctypedef void (*dot_rows_fn "mixline_dot_rows_fn")(
        const int8_t* codes, int64_t width, const uint32_t* rows, int64_t count, const int16_t* query,
        int32_t* out) noexcept
    dot_rows_fn mixline_choose_rows(const char* isa, const char** chosen) noexcept
    void mixline_fetch_row(const int8_t* row, int64_t start, int64_t width) noexcept
    void mixline_fetch_line(const void* at) noexcept
    enum:
        MIXLINE_ROWCODE_STEP
        MIXLINE_ROWCODE_NEAR


cdef enum:
    BATCH = 128           # nodes scored in one step, and so the greatest degree
    EXPANDED = 1
    ROWS_MAX = 0x7FFFFFFF  # an entry has 31 bits for its row


cdef struct Graph:
    dot_rows_fn dot_rows
    const int8_t* codes             # count x width
    const float* factors            # count x parts: a, b, and e where parts > 2
    const uint32_t* neighbours      # count x degree; a row shorter than that ends with the node itself
    Py_ssize_t count, width, degree, parts


cdef struct Asked:
    int16_t* query                  # graph.width codes
    float scale, bias, extra


cdef struct Beam:
    uint64_t* entries               # ascending; room for limit + BATCH
    uint64_t* seen                  # a bit for each row, to score none twice
    const uint64_t* allowed         # NULL: all; others are expanded too, and do not count
    Py_ssize_t held, kept           # entries, and how many of them are allowed
    Py_ssize_t width, limit         # the most kept, and the most held
    Py_ssize_t next                 # no entry before is unexpanded
    Py_ssize_t hops, scored


cdef inline uint64_t entry_of(float distance, uint32_t row) noexcept nogil:
    cdef uint32_t bits
    distance += 0.0                 # -0.0 is 0.0
    memcpy(&bits, &distance, sizeof(bits))
    bits ^= <uint32_t>(<int32_t>bits >> 31) | <uint32_t>0x80000000
    return <uint64_t>bits << 32 | <uint64_t>row << 1


cdef inline uint32_t row_of(uint64_t entry) noexcept nogil:
    return <uint32_t>entry >> 1


cdef inline float distance_of(uint64_t entry) noexcept nogil:
    cdef uint32_t bits = <uint32_t>(entry >> 32)
    cdef float distance
    bits ^= ~<uint32_t>(<int32_t>bits >> 31) | <uint32_t>0x80000000
    memcpy(&distance, &bits, sizeof(bits))
    return distance


cdef inline bint counts(const Beam* beam, uint64_t entry) noexcept nogil:
    cdef uint32_t row = row_of(entry)
    return beam.allowed == NULL or beam.allowed[row >> 6] >> (row & 63) & 1


cdef inline void score(const Graph* graph, const Asked* asked, const uint32_t* rows, Py_ssize_t count,
                       uint64_t* entries) noexcept nogil:
    """Entries of up to BATCH rows, in the same order."""
    cdef int32_t sums[BATCH]
    cdef const float* factors
    cdef float distance
    cdef Py_ssize_t at
    graph.dot_rows(graph.codes, graph.width, rows, count, asked.query, sums)
    for at in range(count):
        factors = graph.factors + rows[at] * graph.parts
        distance = -(<float>sums[at] * (factors[0] * asked.scale) + factors[1] * asked.bias)
        if graph.parts > 2:
            distance -= factors[2] * asked.extra
        entries[at] = entry_of(distance, rows[at])


cdef inline Py_ssize_t mark_fresh(const Graph* graph, Beam* beam, const uint32_t* rows, Py_ssize_t count,
                                  uint32_t owner, uint32_t* fresh) noexcept nogil:
    """List the rows not yet seen, and have them fetched; ``owner`` ends the rows. What lies outside is left out."""
    cdef Py_ssize_t at, found = 0
    cdef uint32_t row
    cdef uint64_t bit
    for at in range(count):
        row = rows[at]
        if row == owner:
            break
        if row >= graph.count:
            continue
        bit = <uint64_t>1 << (row & 63)
        if beam.seen[row >> 6] & bit:
            continue
        beam.seen[row >> 6] |= bit
        mixline_fetch_row(graph.codes + row * graph.width, 0, min(graph.width, <Py_ssize_t>MIXLINE_ROWCODE_NEAR))
        mixline_fetch_line(graph.factors + row * graph.parts)
        fresh[found] = row
        found += 1
    return found


cdef inline void merge(Beam* beam, uint64_t* batch, Py_ssize_t count) noexcept nogil:
    """Bring up to BATCH entries into the beam, of which what is too far falls off the end."""
    cdef Py_ssize_t at, hole, from_beam, size = 0
    cdef uint64_t entry, bar = ~<uint64_t>0
    if beam.kept >= beam.width or beam.held >= beam.limit:
        bar = beam.entries[beam.held - 1]
    for at in range(count):
        entry = batch[at]
        if entry >= bar:
            continue
        hole = size
        while hole > 0 and batch[hole - 1] > entry:
            batch[hole] = batch[hole - 1]
            hole -= 1
        batch[hole] = entry
        size += 1
        beam.kept += counts(beam, entry)
    if not size:
        return
    from_beam, at = beam.held - 1, beam.held + size - 1
    beam.held += size
    while size > 0:
        if from_beam >= 0 and beam.entries[from_beam] > batch[size - 1]:
            beam.entries[at] = beam.entries[from_beam]
            from_beam -= 1
        else:
            size -= 1
            beam.entries[at] = batch[size]
        at -= 1
    beam.next = min(beam.next, at + 1)
    while beam.held > beam.limit or beam.kept > beam.width or (
            beam.kept == beam.width and not counts(beam, beam.entries[beam.held - 1])):
        beam.held -= 1
        beam.kept -= counts(beam, beam.entries[beam.held])
    beam.next = min(beam.next, beam.held)


cdef inline void begin(const Graph* graph, const Asked* asked, Beam* beam, const uint32_t* entries,
                       Py_ssize_t count) noexcept nogil:
    """Empty the beam and put the graph's entries in."""
    cdef uint32_t fresh[BATCH]
    cdef uint64_t batch[BATCH]
    cdef Py_ssize_t at = 0, size
    memset(beam.seen, 0, ((graph.count + 63) >> 6) * sizeof(uint64_t))
    beam.held = beam.kept = beam.next = beam.hops = beam.scored = 0
    while at < count:
        size = mark_fresh(graph, beam, entries + at, min(<Py_ssize_t>BATCH, count - at), ~<uint32_t>0, fresh)
        score(graph, asked, fresh, size, batch)
        merge(beam, batch, size)
        beam.scored += size
        at += BATCH


cdef inline bint hop(const Graph* graph, const Asked* asked, Beam* beam) noexcept nogil:
    """Expand the best entry that was not yet; False when there is none."""
    cdef uint32_t fresh[BATCH]
    cdef uint64_t batch[BATCH]
    cdef uint32_t node
    cdef Py_ssize_t size, at
    while beam.next < beam.held and beam.entries[beam.next] & EXPANDED:
        beam.next += 1
    if beam.next == beam.held:
        return False
    node = row_of(beam.entries[beam.next])
    beam.entries[beam.next] |= EXPANDED
    size = mark_fresh(graph, beam, graph.neighbours + node * graph.degree, graph.degree, node, fresh)
    # The neighbours of what will most likely be expanded next are on their way while these are scored.
    at = beam.next + 1
    while at < beam.held and beam.entries[at] & EXPANDED:
        at += 1
    if at < beam.held:
        node = row_of(beam.entries[at])
        mixline_fetch_line(graph.neighbours + node * graph.degree)
        mixline_fetch_line(graph.neighbours + node * graph.degree + 16)
    score(graph, asked, fresh, size, batch)
    merge(beam, batch, size)
    beam.hops += 1
    beam.scored += size
    return True
