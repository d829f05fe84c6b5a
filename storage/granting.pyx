"""Budgets: what was granted to each user, as chains of lines, and the decision whether there is room for more.

A line takes from a budget (a reservation, or something spent at once), gives a reservation back, or says that it was
spent. What is given back or spent are the latest reservations that stand, so lines that have left the window never
matter to those within it: the amounts in use are found from the lines of the window alone.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc

from mixline.storage.shared cimport checked, st_load32, st_store32

cnp.import_array()

cdef struct Line:
    int64_t time
    uint32_t user
    uint32_t budget
    uint32_t before  # 1 + place of the user's line before, 0 for none
    float window  # seconds, 0 for ever: how long the line may be needed
    uint32_t kind
    uint32_t amount

LINE = np.dtype([("time", "<i8"), ("user", "<u4"), ("budget", "<u4"), ("before", "<u4"), ("window", "<f4"),
                 ("kind", "<u4"), ("amount", "<u4")])
RESERVED, TAKEN, BACK, SPENT = range(4)
AMOUNT_MAX = (1 << 31) - 1
REFUSED = -1
cdef enum:
    IS_RESERVED = 0
    IS_TAKEN = 1
    IS_BACK = 2
    IS_SPENT = 3

cdef struct Tally:
    int64_t used
    int64_t reserved


cdef int tally(const Line* lines, uint32_t newest, uint32_t budget, int64_t since, Tally* out) except -1 nogil:
    """Add up the lines of one budget that lie behind ``since``, from ``newest`` back; times of a chain never fall."""
    cdef Py_ssize_t count = 0, at
    cdef uint32_t place = newest
    cdef const Line* line
    cdef int64_t amount
    out.used = out.reserved = 0
    while place and lines[place - 1].time > since:
        count += lines[place - 1].budget == budget
        place = lines[place - 1].before
    if count == 0:
        return 0
    cdef uint32_t* places = <uint32_t*>malloc(count * sizeof(uint32_t))
    if places == NULL:
        with gil:
            raise MemoryError()
    at, place = count, newest
    while at:
        if lines[place - 1].budget == budget:
            at -= 1
            places[at] = place
        place = lines[place - 1].before
    for at in range(count):
        line = lines + (places[at] - 1)
        amount = line.amount
        if line.kind == IS_RESERVED or line.kind == IS_TAKEN:
            out.used += amount
            out.reserved += amount if line.kind == IS_RESERVED else 0
        else:
            amount = min(amount, out.reserved)
            out.reserved -= amount
            out.used -= amount if line.kind == IS_BACK else 0
    free(places)
    return 0


cdef inline uint32_t newest_of(const Line* lines, const uint32_t* heads, uint32_t user, uint32_t end) noexcept nogil:
    cdef uint32_t place = st_load32(heads + user)  # SYNC POINT: newest grant
    while place > end:
        place = lines[place - 1].before
    return place


def tally_budget(lines, heads, uint32_t user, uint32_t end, uint32_t budget, int64_t since):
    """(amount in use, part of it that is reserved and not yet spent), of lines below ``end`` later than ``since``."""
    cdef const Line* line = <const Line*>checked(lines, LINE).data
    cdef const uint32_t* head = <const uint32_t*>checked(heads, np.uint32).data
    cdef Tally found
    if user >= heads.shape[0] or end > lines.shape[0]:
        raise ValueError(f"user {user} of {heads.shape[0]}, line {end} of {lines.shape[0]}")
    tally(line, newest_of(line, head, user, end), budget, since, &found)
    return found.used, found.reserved


cdef void put(
    Line* lines, Py_ssize_t at, uint32_t before, int64_t time, uint32_t user, uint32_t budget, float window,
    uint32_t kind, int64_t amount
) noexcept nogil:
    lines[at].time, lines[at].user, lines[at].budget, lines[at].before = time, user, budget, before
    lines[at].window, lines[at].kind, lines[at].amount = window, kind, <uint32_t>amount


cdef class Desk:
    """Decides, and writes lines where no reader looks yet. For the writer.

    ``lines`` (:data:`LINE`) and ``heads`` (uint32 by user) are those that readers have; ``ends`` on the lines that a
    state has published, ``staged`` behind those that were written since.
    """

    cdef object kept
    cdef Line* lines
    cdef uint32_t* heads
    cdef uint32_t* latest
    cdef Py_ssize_t room, users
    cdef readonly Py_ssize_t end, staged

    def __init__(self, lines, heads, Py_ssize_t end):
        latest = np.zeros(heads.shape[0], dtype=np.uint32)  # of lines that are staged; untouched pages take no memory
        self.kept = lines, heads, latest
        self.lines = <Line*>checked(lines, LINE).data
        self.heads = <uint32_t*>checked(heads, np.uint32).data
        self.latest = <uint32_t*>checked(latest, np.uint32).data
        self.room, self.users = lines.shape[0], heads.shape[0]
        if not 0 <= end <= self.room:
            raise ValueError(f"line {end} of {self.room}")
        self.end = self.staged = end

    cdef uint32_t newest(self, uint32_t user) noexcept nogil:
        return self.latest[user] or newest_of(self.lines, self.heads, user, <uint32_t>self.end)

    cdef void add(
        self, int64_t time, uint32_t user, uint32_t budget, float window, uint32_t kind, int64_t amount
    ) noexcept nogil:
        put(self.lines, self.staged, self.newest(user), time, user, budget, window, kind, amount)
        self.staged += 1
        self.latest[user] = <uint32_t>self.staged

    cdef int check(self, users, amounts, Py_ssize_t each) except -1:
        cdef const uint32_t* user = <const uint32_t*>checked(users, np.uint32).data
        cdef const int64_t* amount = <const int64_t*>checked(amounts, np.int64).data
        cdef Py_ssize_t at
        if amounts.shape[0] != users.shape[0] or self.staged + each * users.shape[0] > self.room:
            raise ValueError(f"{users.shape[0]} users, {amounts.shape[0]} amounts behind {self.staged} of {self.room}")
        for at in range(users.shape[0]):
            if user[at] >= self.users or not 0 <= amount[at] <= 0x7FFFFFFF:
                raise ValueError(f"user {user[at]} of {self.users}, amount {amount[at]}")
        return 0

    def decide(self, users, amounts, uint32_t kind, uint32_t budget, int64_t limit, int64_t window, int64_t now):
        """Grant each entry that there is room for, in their order; returns int64: what it took, -1 for a refusal.

        A reservation (:data:`RESERVED`) takes its amount; what is spent (:data:`SPENT`) takes what exceeds the
        reservations that stand, and turns those into spent ones; :data:`BACK` takes nothing, and is refused where less
        stands. Writes at most two lines an entry.
        """
        self.check(users, amounts, 2)
        cdef const uint32_t* user = <const uint32_t*>(<cnp.ndarray>users).data
        cdef const int64_t* amount = <const int64_t*>(<cnp.ndarray>amounts).data
        found = np.empty(users.shape[0], dtype=np.int64)
        cdef int64_t* out = <int64_t*>(<cnp.ndarray>found).data
        cdef Tally now_in
        cdef int64_t since = now - window if window else -1
        cdef int64_t fresh
        cdef Py_ssize_t at
        for at in range(users.shape[0]):
            tally(self.lines, self.newest(user[at]), budget, since, &now_in)
            if kind == IS_BACK:
                out[at] = 0 if amount[at] <= now_in.reserved else -1
            else:
                fresh = amount[at] if kind == IS_RESERVED else max(amount[at] - now_in.reserved, 0)
                out[at] = fresh if fresh == 0 or now_in.used + fresh <= limit else -1
            self.enter(user[at], kind, budget, window, now, amount[at], out[at])
        return found

    def repeat(self, users, amounts, uint32_t kind, uint32_t budget, int64_t window, int64_t now, taken):
        """Write the lines of a decision that was taken before: ``taken`` is what :meth:`decide` returned."""
        self.check(users, amounts, 2)
        cdef const uint32_t* user = <const uint32_t*>(<cnp.ndarray>users).data
        cdef const int64_t* amount = <const int64_t*>(<cnp.ndarray>amounts).data
        cdef const int64_t* took = <const int64_t*>checked(taken, np.int64).data
        cdef Py_ssize_t at
        if taken.shape[0] != users.shape[0]:
            raise ValueError(f"{taken.shape[0]} outcomes for {users.shape[0]} users")
        for at in range(users.shape[0]):
            self.enter(user[at], kind, budget, window, now, amount[at], took[at])

    cdef void enter(
        self, uint32_t user, uint32_t kind, uint32_t budget, int64_t window, int64_t now, int64_t amount, int64_t took
    ) noexcept nogil:
        if took < 0:
            return
        if kind == IS_SPENT:
            if took:
                self.add(now, user, budget, <float>window, IS_TAKEN, took)
            amount -= took
        if amount:
            self.add(now, user, budget, <float>window, kind, amount)

    def carry(self, users, amounts, lines):
        """Write lines as they were elsewhere: ``lines`` (:data:`LINE`) has all but the users' rows."""
        self.check(users, amounts, 1)
        if lines.shape[0] != users.shape[0]:
            raise ValueError(f"{lines.shape[0]} lines for {users.shape[0]} users")
        cdef const uint32_t* user = <const uint32_t*>(<cnp.ndarray>users).data
        cdef const Line* given = <const Line*>checked(lines, LINE).data
        cdef Py_ssize_t at
        for at in range(users.shape[0]):
            self.add(given[at].time, user[at], given[at].budget, given[at].window, given[at].kind, given[at].amount)

    def back(self, Py_ssize_t staged):
        """Forget what was staged from this line on."""
        cdef uint32_t before
        while self.staged > staged:
            self.staged -= 1
            before = self.lines[self.staged].before
            self.latest[self.lines[self.staged].user] = before if before > self.end else 0

    def release(self):
        """Put what was staged into the chains that readers follow."""
        cdef Py_ssize_t at
        for at in range(self.end, self.staged):
            self.latest[self.lines[at].user] = 0
            st_store32(self.heads + self.lines[at].user, <uint32_t>at + 1)  # SYNC POINT: newest grant
        self.end = self.staged
