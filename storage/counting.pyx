"""How many events of an item lie in spans of time: of the build by bisection, of later ones along chains with jumps.

An event that came later is a node. It leads to the event before it of the same item and action, and to one further
back, so that these jumps halve the way (skew-binary lists: Myers 1983, "An applicative random-access stack"). A node
knows the least and the greatest time up to its jump; what lies in one span as a whole is counted as a whole, so a chain
of n events in the order of their times takes O(log n) steps for each span, and any other order gives the same counts.
Nodes never change: a reader enters at its watermark and needs no lock.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t, uint32_t

from mixline.storage.shared cimport EventLine, checked, st_ahead, st_load32, st_store32

cnp.import_array()

cdef struct Node:
    uint32_t before  # 1 + place of the event before it, 0 at the end of the chain; so are the others
    uint32_t jump
    uint32_t depth  # events from here to the end
    uint32_t time
    uint32_t low  # times from here to the jump
    uint32_t high
    uint32_t top  # the greatest time from here to the end
    uint32_t spare

NODE = np.dtype([(name, "<u4") for name in ("before", "jump", "depth", "time", "low", "high", "top", "spare")])
ACTIONS = 256
EDGES_MAX = 512
TIME_MAX = 0xFFFFFFFF
cdef enum:
    WALKS = 16
cdef int64_t TIMES_END = 0xFFFFFFFF
cdef uint32_t ACTIONS_END = 256


def link_counts(nodes, events, Py_ssize_t start, Py_ssize_t stop, event_dtype, heads, Py_ssize_t stride):
    """Chain ``events[start:stop]`` to the earlier ones of the same item and action. For the writer.

    ``nodes`` (:data:`NODE`) lie beside ``events``; ``heads`` (uint32) has ``stride`` words for each action code. Events
    whose code is 256 or more are none.
    """
    cdef Node* chain = <Node*>checked(nodes, NODE).data
    cdef const EventLine* lines = <const EventLine*>checked(events, event_dtype).data
    cdef uint32_t* head = <uint32_t*>checked(heads, np.uint32).data
    cdef Py_ssize_t at, place
    cdef uint32_t before
    if not 0 <= start <= stop <= events.shape[0] or stop > nodes.shape[0] or stop >= TIMES_END:
        raise ValueError("beyond the end of the events")
    if stride < 1 or heads.shape[0] < stride * <Py_ssize_t>ACTIONS_END:
        raise ValueError(f"{heads.shape[0]} heads: {ACTIONS_END} times {stride} are needed")
    for at in range(start, stop):
        if lines[at].action >= ACTIONS_END:
            continue
        if lines[at].item >= stride:
            raise ValueError(f"item {lines[at].item} of {stride}")
        place = lines[at].action * stride + lines[at].item
        before = head[place]
        while before > at:  # left by a writer that died before its state was published
            before = chain[before - 1].before
        put_node(chain, at, before, <uint32_t>min(max(lines[at].time, 0), TIMES_END))
        st_store32(head + place, <uint32_t>at + 1)  # SYNC POINT: newest of an item


cdef inline void put_node(Node* chain, Py_ssize_t at, uint32_t before, uint32_t time) noexcept nogil:
    cdef Node* node = chain + at
    cdef const Node* last
    cdef const Node* beyond
    node.before, node.jump, node.depth = before, before, 1
    node.time, node.low, node.high, node.top = time, time, time, time
    if before == 0:
        return
    last = chain + (before - 1)
    node.depth = last.depth + 1
    node.top = max(time, last.top)
    if last.jump == 0:
        return
    beyond = chain + (last.jump - 1)
    if last.depth - beyond.depth == beyond.depth - depth_of(chain, beyond.jump):
        node.jump = beyond.jump
        node.low = min(time, min(last.low, beyond.low))
        node.high = max(time, max(last.high, beyond.high))


cdef inline uint32_t depth_of(const Node* chain, uint32_t place) noexcept nogil:
    return chain[place - 1].depth if place else 0


cdef inline Py_ssize_t span_of(const int64_t* edges, Py_ssize_t spans, int64_t time) noexcept nogil:
    """The span j with edges[j + 1] < time <= edges[j]; -1 for what comes after all, ``spans`` for what lies before."""
    cdef Py_ssize_t low = 0, high = spans + 1, middle
    while low < high:  # the first edge below the time
        middle = (low + high) >> 1
        if edges[middle] < time:
            high = middle
        else:
            low = middle + 1
    return low - 1


cdef inline bint all_in(const int64_t* edges, Py_ssize_t spans, Py_ssize_t span, const Node* node) noexcept nogil:
    """Whether all from a node to its jump lie in the node's own span."""
    return (span < 0 or edges[span] >= <int64_t>node.high) and (span == spans or edges[span + 1] < <int64_t>node.low)


cdef struct Walk:
    const Node* node  # where it has come to
    Py_ssize_t here  # the span of the node before, and of all that were passed with it
    uint32_t depth  # of the node before; less this one's depth, it is how many events were passed
    int64_t* out


cdef inline bint go_on(const Node* chain, const int64_t* edges, Py_ssize_t spans, Walk* walk) noexcept nogil:
    """Count one node, or all up to its jump; whether there is anything left to count."""
    cdef const Node* node = walk.node
    cdef Py_ssize_t here = walk.here
    cdef uint32_t place
    if 0 <= here < spans:
        walk.out[here] += walk.depth - node.depth
    if <int64_t>node.top <= edges[spans]:
        return False
    if not (0 <= here < spans and edges[here + 1] < <int64_t>node.time <= edges[here]):
        here = walk.here = span_of(edges, spans, node.time)
    walk.depth = node.depth
    place = node.jump if all_in(edges, spans, here, node) else node.before
    if place == 0:
        if 0 <= here < spans:
            walk.out[here] += node.depth
        return False
    walk.node = chain + (place - 1)
    st_ahead(walk.node)
    return True


cdef inline Py_ssize_t go_all(
    const Node* chain, const int64_t* edges, Py_ssize_t spans, Walk* walks, Py_ssize_t count, Py_ssize_t until
) noexcept nogil:
    """Take turns with ``count`` walks until only ``until`` go on; each waits for memory while the others use theirs."""
    cdef Py_ssize_t at
    while count > until:
        at = 0
        while at < count:
            if go_on(chain, edges, spans, walks + at):
                at += 1
            else:
                count -= 1
                walks[at] = walks[count]
    return count


cdef inline Py_ssize_t count_until(
    const uint32_t* times, Py_ssize_t start, Py_ssize_t stop, int64_t edge
) noexcept nogil:
    """The first place whose time lies after ``edge``."""
    cdef Py_ssize_t middle
    while start < stop:
        middle = (start + stop) >> 1
        if <int64_t>times[middle] > edge:
            stop = middle
        else:
            start = middle + 1
    return start


cdef class Built:
    """Times of the events of a build: of each item by action, ascending, as ``storage/item_times.py`` has them."""

    cdef object kept
    cdef const int64_t* indptr
    cdef const uint8_t* actions
    cdef const int64_t* starts
    cdef const uint32_t* times
    cdef readonly Py_ssize_t count

    def __init__(self, indptr, actions, starts, times):
        self.kept = indptr, actions, starts, times
        self.indptr = <const int64_t*>checked(indptr, np.int64).data
        self.actions = <const uint8_t*>checked(actions, np.uint8).data
        self.starts = <const int64_t*>checked(starts, np.int64).data
        self.times = <const uint32_t*>checked(times, np.uint32).data
        self.count = indptr.shape[0] - 1
        cdef Py_ssize_t pairs = actions.shape[0]
        if self.count < 0 or starts.shape[0] != pairs + 1 or self.indptr[self.count] != pairs:
            raise ValueError("lists that do not fit one another")
        if self.starts[pairs] != times.shape[0]:
            raise ValueError(f"{times.shape[0]} times; {self.starts[pairs]} are needed")

    cdef void add(
        self, uint32_t item, const uint8_t* wanted, const int64_t* edges, Py_ssize_t spans, int64_t* out
    ) noexcept nogil:
        cdef Py_ssize_t pair, at
        cdef Py_ssize_t start, stop, lower
        for pair in range(self.indptr[item], self.indptr[item + 1]):
            if not wanted[self.actions[pair]]:
                continue
            start = self.starts[pair]
            stop = count_until(self.times, start, self.starts[pair + 1], edges[0])
            for at in range(spans):
                lower = count_until(self.times, start, stop, edges[at + 1])
                out[at] += stop - lower
                stop = lower


cdef class Late:
    """Events since the build, as :func:`link_counts` has chained them."""

    cdef object kept
    cdef const Node* nodes
    cdef const uint32_t* heads
    cdef Py_ssize_t stride

    def __init__(self, nodes, heads, Py_ssize_t stride):
        self.kept = nodes, heads
        self.nodes = <const Node*>checked(nodes, NODE).data
        self.heads = <const uint32_t*>checked(heads, np.uint32).data
        self.stride = stride
        if stride < 1 or heads.shape[0] < stride * <Py_ssize_t>ACTIONS_END:
            raise ValueError(f"{heads.shape[0]} heads: {ACTIONS_END} times {stride} are needed")

    cdef Py_ssize_t begin(
        self, uint32_t item, uint32_t code, uint32_t end, int64_t* out, Walk* walk
    ) noexcept nogil:
        """Set a walk up at the latest event below ``end``; 0 when there is none, else 1."""
        if <Py_ssize_t>item >= self.stride:
            return 0
        cdef uint32_t place = st_load32(self.heads + code * self.stride + item)  # SYNC POINT: newest of an item
        while place > end:
            place = self.nodes[place - 1].before
        if place == 0:
            return 0
        walk.node, walk.here, walk.depth, walk.out = self.nodes + (place - 1), -1, 0, out
        st_ahead(walk.node)
        return 1

    cdef void add_all(
        self, const uint32_t* items, Py_ssize_t count, const uint8_t* wanted, Py_ssize_t codes, uint32_t end,
        const int64_t* edges, Py_ssize_t spans, int64_t* out
    ) noexcept nogil:
        cdef Walk[WALKS] walks
        cdef Py_ssize_t at, code, going = 0
        for code in range(codes):
            if not wanted[code]:
                continue
            for at in range(count):
                if at + WALKS < count and <Py_ssize_t>items[at + WALKS] < self.stride:
                    st_ahead(self.heads + code * self.stride + items[at + WALKS])
                going += self.begin(items[at], <uint32_t>code, end, out + at * spans, walks + going)
                if going == WALKS:
                    going = go_all(self.nodes, edges, spans, walks, going, WALKS - 1)
        go_all(self.nodes, edges, spans, walks, going, 0)


def count_items(items, edges, wanted, Built built, Late late, uint32_t end, Py_ssize_t codes):
    """Events of each of ``items`` (identities, uint32) in each span: int64 (items, edges - 1).

    ``edges`` (int64) fall; span j holds the times above edges[j + 1] and not above edges[j]. ``wanted`` (uint8, 256) is
    1 for the action codes that count. Either side may be None; of ``late`` the events below place ``end`` exist, with
    action codes below ``codes``. Raises ``ValueError`` for arrays that do not fit.
    """
    cdef cnp.ndarray source = checked(items, np.uint32)
    cdef const uint32_t* given = <const uint32_t*>source.data
    cdef const int64_t* edge = <const int64_t*>checked(edges, np.int64).data
    cdef const uint8_t* flags = <const uint8_t*>checked(wanted, np.uint8).data
    cdef Py_ssize_t count = items.shape[0], spans = edges.shape[0] - 1, at
    if not 1 <= spans < EDGES_MAX or not 0 <= codes <= <Py_ssize_t>ACTIONS_END or wanted.shape[0] != ACTIONS_END:
        raise ValueError(f"{spans} spans, {codes} codes, {wanted.shape[0]} flags")
    for at in range(spans):
        if edge[at] <= edge[at + 1]:
            raise ValueError("edges must fall")
    found = np.zeros((count, spans), dtype=np.int64)
    cdef int64_t* out = <int64_t*>(<cnp.ndarray>found).data
    cdef Py_ssize_t lists = 0 if built is None else built.count
    cdef bint later = late is not None and end > 0
    with nogil:
        for at in range(count):
            if <Py_ssize_t>given[at] < lists:
                built.add(given[at], flags, edge, spans, out + at * spans)
        if later:
            late.add_all(given, count, flags, codes, end, edge, spans, out)
    return found
