"""What readers follow while the writer appends: newest versions of rows, chains of events, ids of new rows, the state.

Everything here is found from words that only ever point further on. A reader has a watermark, the counts that one state
published, and goes back from whatever is newer; so it takes no lock and sees one state from the start to the end of a
request.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport uint32_t, uint64_t

from mixline.storage.shared cimport EventLine, checked, st_fence, st_load32, st_load64, st_store32, st_store64

cnp.import_array()

cdef struct IdLine:
    uint64_t key
    uint32_t row
    uint32_t spare

EVENT = np.dtype([("time", "<i8"), ("user", "<u4"), ("item", "<u4"), ("before", "<u4"), ("weight", "<f4"),
                  ("action", "<u4"), ("spare", "<u4")])
ID_LINE = np.dtype([("key", "<u8"), ("row", "<u4"), ("spare", "<u4")])
NONE = 0xFFFFFFFF
BLOCK = 0x100  # an event's action from here on: no event, but a word on what the user shall not see
STATE_FIELDS = 16
STATE_WORDS = 2 + 2 * STATE_FIELDS
cdef Py_ssize_t FIELDS = 16
cdef uint32_t NO_ROW = 0xFFFFFFFF
cdef uint32_t FIRST_BLOCK = 0x100


cdef const uint64_t* words_of(cnp.ndarray memory) except NULL:
    if memory.dtype != np.uint64 or memory.shape[0] < STATE_WORDS or not memory.flags.c_contiguous:
        raise ValueError(f"the state is {STATE_WORDS} contiguous uint64")
    return <const uint64_t*>memory.data


def publish_state(cnp.ndarray memory, fields):
    """Make ``fields`` (up to 16 numbers) the state, all of them at once. One writer."""
    cdef uint64_t* words = <uint64_t*>words_of(memory)
    cdef uint64_t generation = words[0] + 1
    cdef uint64_t* side = words + 2 + (generation & 1) * FIELDS
    cdef Py_ssize_t at
    for at, value in enumerate(fields):
        if at == FIELDS:
            raise ValueError("too many fields")
        st_store64(side + at, value)
    st_store64(words, generation)  # SYNC POINT: live state


def state_generation(cnp.ndarray memory):
    """How often a state was published; 0: never."""
    return st_load64(words_of(memory))  # SYNC POINT: live generation


def read_state(cnp.ndarray memory):
    """The latest state, whole; two lie there, so a writer that dies at any point leaves one."""
    cdef const uint64_t* words = words_of(memory)
    cdef uint64_t generation, again
    cdef uint64_t[16] found
    cdef Py_ssize_t at
    while True:
        generation = st_load64(words)  # SYNC POINT: live state
        for at in range(FIELDS):
            found[at] = st_load64(words + 2 + (generation & 1) * FIELDS + at)
        st_fence()
        again = st_load64(words)  # SYNC POINT: live generation
        if again == generation:
            return generation, tuple([found[at] for at in range(FIELDS)])


def newest_versions(rows, newest, before, uint32_t base, uint32_t end):
    """The newest version below ``end`` of each identity in ``rows`` (uint32); NONE where there is none yet.

    ``newest`` by identity (0: never another), ``before`` by row from ``base`` on.
    """
    cdef cnp.ndarray source = checked(rows, np.uint32)
    cdef const uint32_t* given = <const uint32_t*>source.data
    cdef const uint32_t* last = <const uint32_t*>checked(newest, np.uint32).data
    cdef const uint32_t* previous = <const uint32_t*>checked(before, np.uint32).data
    cdef Py_ssize_t count = source.shape[0], at
    cdef Py_ssize_t limit = newest.shape[0], versions = before.shape[0]
    found = np.empty(count, dtype=np.uint32)
    cdef uint32_t* out = <uint32_t*>(<cnp.ndarray>found).data
    cdef uint32_t row, version
    for at in range(count):
        row = given[at]
        if row >= limit:
            out[at] = NO_ROW
            continue
        version = st_load32(last + row)  # SYNC POINT: newest version
        if version == 0:
            version = row
        while version != NO_ROW and version >= end:
            version = previous[version - base] if base <= version and version - base < versions else NO_ROW
        out[at] = version
    return found


def version_rows(identities, uint32_t first, newest, before, uint32_t base):
    """Note ``first``, ``first + 1``, … as new versions of ``identities``, in this order. For the writer."""
    cdef cnp.ndarray source = checked(identities, np.uint32)
    cdef const uint32_t* given = <const uint32_t*>source.data
    cdef uint32_t* last = <uint32_t*>checked(newest, np.uint32).data
    cdef uint32_t* previous = <uint32_t*>checked(before, np.uint32).data
    cdef Py_ssize_t at
    cdef uint32_t version, row, identity
    if first < base or first - base + source.shape[0] > before.shape[0]:
        raise ValueError("beyond the end of the rows")
    for at in range(source.shape[0]):
        identity = given[at]
        if identity >= newest.shape[0]:
            raise ValueError(f"identity {identity} of {newest.shape[0]}")
        row = first + <uint32_t>at
        version = last[identity]
        # A writer that died left newer words than its log; what it left is written again.
        while version != NO_ROW and version >= row:
            version = previous[version - base]
        if version == 0:
            version = identity if identity < base else NO_ROW
        previous[row - base] = version
        st_store32(last + identity, row)  # SYNC POINT: newest version


def link_events(events, Py_ssize_t start, Py_ssize_t stop, heads, block_heads):
    """Chain ``events[start:stop]`` to their users' earlier ones, blocks to blocks. For the writer."""
    cdef EventLine* lines = <EventLine*>checked(events, EVENT).data
    cdef uint32_t* acted = <uint32_t*>checked(heads, np.uint32).data
    cdef uint32_t* blocked = <uint32_t*>checked(block_heads, np.uint32).data
    cdef uint32_t* head
    cdef Py_ssize_t at, users = min(heads.shape[0], block_heads.shape[0])
    cdef uint32_t before, user
    if not 0 <= start <= stop <= events.shape[0] or stop >= NO_ROW:
        raise ValueError("beyond the end of the events")
    for at in range(start, stop):
        user = lines[at].user
        if user >= users:
            raise ValueError(f"user {user} of {users}")
        head = blocked if lines[at].action >= FIRST_BLOCK else acted
        before = head[user]
        while before > at:  # left by a writer that died before its state was published
            before = lines[before - 1].before
        lines[at].before = before
        st_store32(head + user, <uint32_t>at + 1)  # SYNC POINT: newest event


def chain_events(events, heads, uint32_t user, uint32_t end, Py_ssize_t most, uint32_t since=0):
    """Positions (uint32) of the ``most`` latest events in ``since`` .. ``end`` of one user, the latest first."""
    cdef const EventLine* lines = <const EventLine*>checked(events, EVENT).data
    cdef const uint32_t* head = <const uint32_t*>checked(heads, np.uint32).data
    cdef Py_ssize_t count = 0, at
    cdef uint32_t place
    if user >= heads.shape[0] or end > events.shape[0]:
        return np.zeros(0, dtype=np.uint32)
    cdef uint32_t newest = st_load32(head + user)  # SYNC POINT: newest event
    place = newest
    while place > end:
        place = lines[place - 1].before
    newest = place
    while place > since and count < most:
        count += 1
        place = lines[place - 1].before
    found = np.empty(count, dtype=np.uint32)
    cdef uint32_t* out = <uint32_t*>(<cnp.ndarray>found).data
    place = newest
    for at in range(count):
        out[at] = place - 1
        place = lines[place - 1].before
    return found


def link_queries(events, Py_ssize_t start, Py_ssize_t stop, before, heads):
    """Chain those of ``events[start:stop]`` that came of a query, whose number from 1 on is ``spare``, to the earlier
    ones of that query: ``before`` (uint32) lies beside the events. For the writer."""
    cdef const EventLine* lines = <const EventLine*>checked(events, EVENT).data
    cdef uint32_t* previous = <uint32_t*>checked(before, np.uint32).data
    cdef uint32_t* head = <uint32_t*>checked(heads, np.uint32).data
    cdef Py_ssize_t at, queries = heads.shape[0]
    cdef uint32_t place, query
    if not 0 <= start <= stop <= min(events.shape[0], before.shape[0]) or stop >= NO_ROW:
        raise ValueError("beyond the end of the events")
    for at in range(start, stop):
        query = lines[at].spare
        if query == 0 or lines[at].action >= FIRST_BLOCK:
            continue
        if query > queries:
            raise ValueError(f"query {query} of {queries}")
        place = head[query - 1]
        while place > at:  # left by a writer that died before its state was published
            place = previous[place - 1]
        previous[at] = place
        st_store32(head + query - 1, <uint32_t>at + 1)  # SYNC POINT: newest of a query


def chain_queries(before, heads, uint32_t query, uint32_t end, uint32_t since=0):
    """Positions (uint32) of the events in ``since`` .. ``end`` that came of one query, the latest first."""
    cdef const uint32_t* previous = <const uint32_t*>checked(before, np.uint32).data
    cdef const uint32_t* head = <const uint32_t*>checked(heads, np.uint32).data
    cdef Py_ssize_t count = 0, at
    cdef uint32_t place, newest
    if not 0 < query <= heads.shape[0] or end > before.shape[0]:
        return np.zeros(0, dtype=np.uint32)
    newest = st_load32(head + query - 1)  # SYNC POINT: newest of a query
    while newest > end:
        newest = previous[newest - 1]
    place = newest
    while place > since:
        count += 1
        place = previous[place - 1]
    found = np.empty(count, dtype=np.uint32)
    cdef uint32_t* out = <uint32_t*>(<cnp.ndarray>found).data
    place = newest
    for at in range(count):
        out[at] = place - 1
        place = previous[place - 1]
    return found


cdef inline uint64_t spread(uint64_t key) noexcept nogil:
    """Bits of integer ids, which may be 1, 2, 3, …, over the whole table (the finaliser of MurmurHash3)."""
    key ^= key >> 33
    key *= <uint64_t>0xFF51AFD7ED558CCD
    key ^= key >> 33
    key *= <uint64_t>0xC4CEB9FE1A85EC53
    return key ^ (key >> 33)


cdef Py_ssize_t slots_of(object table) except -1:
    cdef Py_ssize_t slots = table.shape[0]
    if slots < 2 or slots & (slots - 1):
        raise ValueError(f"{slots} slots: a power of two is needed")
    return slots


def find_ids(table, keys, uint32_t end):
    """The row below ``end`` of each key (uint64) in a table; NONE where there is none."""
    cdef const IdLine* lines = <const IdLine*>checked(table, ID_LINE).data
    cdef cnp.ndarray source = checked(keys, np.uint64)
    cdef const uint64_t* given = <const uint64_t*>source.data
    cdef Py_ssize_t slots = slots_of(table), at
    cdef uint64_t slot
    cdef uint32_t row
    found = np.empty(source.shape[0], dtype=np.uint32)
    cdef uint32_t* out = <uint32_t*>(<cnp.ndarray>found).data
    for at in range(source.shape[0]):
        slot = spread(given[at]) & <uint64_t>(slots - 1)
        while True:
            row = st_load32(&lines[slot].row)  # SYNC POINT: id of a new row
            if row == 0 or lines[slot].key == given[at]:
                break
            slot = (slot + 1) & <uint64_t>(slots - 1)
        out[at] = row if row and row < end else NO_ROW
    return found


def place_of_id(table, uint64_t key):
    """The slot where ``key`` stands or would be put. For the writer, which keeps half of the table empty."""
    cdef const IdLine* lines = <const IdLine*>checked(table, ID_LINE).data
    cdef Py_ssize_t slots = slots_of(table)
    cdef uint64_t slot = spread(key) & <uint64_t>(slots - 1)
    while lines[slot].row and lines[slot].key != key:
        slot = (slot + 1) & <uint64_t>(slots - 1)
    return slot


def put_id(table, Py_ssize_t slot, uint64_t key, uint32_t row):
    """Let ``key`` stand for ``row`` (not 0)."""
    cdef IdLine* lines = <IdLine*>checked(table, ID_LINE).data
    if not 0 <= slot < slots_of(table) or row == 0:
        raise ValueError(f"slot {slot}, row {row}")
    lines[slot].key = key
    st_store32(&lines[slot].row, row)  # SYNC POINT: id of a new row
