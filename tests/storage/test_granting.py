"""Budgets against a plain model: a stack of reservations with their times, and what was taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.storage.granting import BACK, LINE, RESERVED, SPENT, Desk, tally_budget

USERS, ROOM = 4, 512


class Plain:
    """One budget of one user. Grants are [time, amount, reserved]; the latest reservations are spent or given back."""

    def __init__(self):
        self.grants = []

    def within(self, window, now):
        return [grant for grant in self.grants if window == 0 or grant[0] > now - window]

    def used(self, window, now):
        return sum(grant[1] for grant in self.within(window, now))

    def reserved(self, window, now):
        return sum(grant[1] for grant in self.within(window, now) if grant[2])

    def settle(self, amount, window, now, back):
        for grant in reversed(self.within(window, now)):
            if grant[2] and amount:
                part = min(amount, grant[1])
                amount -= part
                grant[1] -= part
                if not back:
                    self.grants.insert(self.grants.index(grant), [grant[0], part, False])

    def apply(self, kind, amount, limit, window, now):
        reserved = self.reserved(window, now)
        if kind == BACK:
            if amount > reserved:
                return -1
            self.settle(amount, window, now, True)
            return 0
        fresh = amount if kind == RESERVED else max(0, amount - reserved)
        if fresh and self.used(window, now) + fresh > limit:
            return -1
        if kind == SPENT:
            self.settle(amount - fresh, window, now, False)
        if fresh:
            self.grants.append([now, fresh, kind == RESERVED])
        return fresh


ENTRY = st.tuples(st.integers(0, USERS - 1), st.integers(1, 4))
STEP = st.tuples(
    st.sampled_from([RESERVED, SPENT, BACK]),
    st.integers(0, 1),
    st.lists(ENTRY, min_size=1, max_size=3),
    st.integers(0, 9),
    st.integers(0, 5),  # seconds passed
    st.sampled_from(["release", "stay", "forget"]),
)


def columns(entries):
    return np.array([one for one, _ in entries], np.uint32), np.array([one for _, one in entries], np.int64)


@given(steps=st.lists(STEP, max_size=25), windows=st.tuples(*[st.sampled_from([0, 4, 10])] * 2))
def test_never_more_than_there_is(steps, windows):
    lines, heads = np.zeros(ROOM, LINE), np.zeros(USERS, np.uint32)
    again, others = np.zeros(ROOM, LINE), np.zeros(USERS, np.uint32)
    desk, second = Desk(lines, heads, 0), Desk(again, others, 0)
    plain = {(user, budget): Plain() for user in range(USERS) for budget in range(2)}
    now = 100
    for kind, budget, entries, limit, passed, then in steps:
        now += passed
        window, mark = windows[budget], desk.staged
        taken = desk.decide(*columns(entries), kind, budget, limit, window, now)
        if then == "forget":
            desk.back(mark)
            continue
        expected = [plain[user, budget].apply(kind, amount, limit, window, now) for user, amount in entries]
        assert taken.tolist() == expected
        second.repeat(*columns(entries), kind, budget, window, now, taken)
        if then == "release":
            desk.release()
            second.release()
            assert (lines[: desk.staged] == again[: second.staged]).all() and (heads == others).all()
            for (user, one), model in plain.items():
                found = tally_budget(lines, heads, user, desk.end, one, now - windows[one] if windows[one] else -1)
                assert found == (model.used(windows[one], now), model.reserved(windows[one], now))


@given(steps=st.lists(st.tuples(ENTRY, st.integers(0, 5)), min_size=1, max_size=30), died=st.integers(0, 30))
def test_a_reader_sees_its_own_state_and_a_dead_writer_is_made_good(steps, died):
    lines, heads = np.zeros(ROOM, LINE), np.zeros(USERS, np.uint32)
    desk, ends, now = Desk(lines, heads, 0), [0], 0
    for entry, passed in steps:
        now += passed
        desk.decide(*columns([entry]), RESERVED, 0, 20, 0, now)
        desk.release()
        ends.append(desk.end)

    def seen(end):
        return [tally_budget(lines, heads, user, end, 0, -1) for user in range(USERS)]

    before = [seen(end) for end in ends]
    assert before[-1] == [(min(used, 20), min(used, 20)) for used, _ in before[-1]]
    died = min(died, len(steps))
    desk, now = Desk(lines, heads, ends[died]), sum(passed for _, passed in steps[:died])
    for entry, passed in steps[died:]:  # linked, and never published: the next writer writes the same again
        now += passed
        desk.decide(*columns([entry]), RESERVED, 0, 20, 0, now)
        desk.release()
    assert [seen(end) for end in ends] == before


U, A = np.zeros(1, np.uint32), np.ones(1, np.int64)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda desk: desk.decide(U + 9, A, RESERVED, 0, 9, 0, 1),
        lambda desk: desk.decide(U, -A, RESERVED, 0, 9, 0, 1),
        lambda desk: desk.decide(U, A[:0], RESERVED, 0, 9, 0, 1),
        lambda desk: desk.decide(np.zeros(9, np.uint32), np.ones(9, np.int64), RESERVED, 0, 9, 0, 1),
        lambda desk: desk.repeat(U, A, RESERVED, 0, 0, 1, A[:0]),
        lambda desk: desk.carry(U, A, np.zeros(2, LINE)),
        lambda desk: tally_budget(np.zeros(4, LINE), np.zeros(1, np.uint32), 1, 0, 0, 0),
        lambda desk: Desk(np.zeros(4, LINE), np.zeros(1, np.uint32), 5),
    ],
)
def test_doors_check_what_they_are_given(wrong):
    with pytest.raises(ValueError):
        wrong(Desk(np.zeros(4, LINE), np.zeros(1, np.uint32), 0))
