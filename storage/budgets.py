"""Budgets: named amounts that may be in use by a user, or by all, within a window; never more, whoever asks.

The one writer decides, in the order of its batches, and logs what it decided: whoever reads the log does not decide
again. A refusal is an outcome, not an error. Readers find the lines of a user by their chain, as of their state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadOperation
from mixline.storage.granting import AMOUNT_MAX, BACK, LINE, RESERVED, SPENT, Desk
from mixline.storage.live_labels import LiveLabels
from mixline.storage.live_ops import Grants, Id, Release, Reserve, Spend
from mixline.storage.live_segments import Segment, everybody

LIMIT_MAX = 1 << 62
WINDOW_MAX = 100 * 366 * 86_400
KINDS = {Reserve: RESERVED, Spend: SPENT, Release: BACK}

Users = Callable[[list[Id] | bytes], np.ndarray]  # ids to rows, of new users too


class Budgets:
    """The writer's side."""

    def __init__(self, epoch: Epoch, segments: Mapping[str, Segment], labels: LiveLabels, published: int) -> None:
        self._lines, self._heads, self._labels = segments["grants"], segments["grants.heads"], labels
        self._all = everybody(epoch)
        self._desk = Desk(self._lines.values, self._heads.values, published)

    @property
    def staged(self) -> int:
        """The lines that were written, published or not."""
        return self._desk.staged

    def stage(self, op: Reserve | Spend | Release | Grants, users: Users, at: int, *, lenient: bool) -> AnyBudgetOp:
        """Decide an operation at second ``at``, or repeat the decision that it has; returns it with the decision."""
        if isinstance(op, Grants):
            return self._carry(op, users, lenient=lenient)
        amounts = self._check(op)
        if op.taken and not lenient:
            raise BadOperation("taken: the node decides that; leave it out")
        rows = np.array([self._all], dtype=np.uint32) if op.users is None else users(op.users)
        self._lines.take(self.staged, 2 * len(rows) + 1)
        budget, now = self._labels.budget(op.budget), self._now(at)
        kind = KINDS[type(op)]
        if op.taken:
            taken = np.frombuffer(op.taken, dtype="<i8")
            if len(taken) != len(rows):
                raise BadOperation(f"taken: {len(taken)} outcomes for {len(rows)} entries")
            self._desk.repeat(rows, amounts, kind, budget, op.window, now, taken)
            return op
        limit = 0 if isinstance(op, Release) else op.limit
        taken = self._desk.decide(rows, amounts, kind, budget, limit, op.window, now)
        return msgspec.structs.replace(op, taken=taken.astype("<i8").tobytes())

    def back(self, staged: int) -> None:
        """Forget the lines from this one on."""
        self._desk.back(staged)

    def reserve(self) -> None:
        """Take room for the words that :meth:`release` changes."""
        self._heads.take_at(np.unique(self._lines.values["user"][self._desk.end : self.staged]))

    def release(self) -> None:
        """Let readers find the lines, once the state counts them."""
        self._desk.release()

    def _now(self, at: int) -> int:
        """The time of the next line: those of a chain never fall, though clocks are set back."""
        return max(at, int(self._lines.values["time"][self.staged - 1]) if self.staged else 0)

    def _check(self, op: Reserve | Spend | Release) -> np.ndarray:
        """The amounts of all entries (int64)."""
        users = op.users
        count = 1 if users is None else len(users) // 8 if isinstance(users, bytes) else len(users)
        if not op.budget:
            raise BadOperation("budget: give it a name")
        if not 0 <= op.window <= WINDOW_MAX:
            raise BadOperation(f"window {op.window}: give seconds, at most {WINDOW_MAX}; 0 for ever")
        if not isinstance(op, Release) and not 0 <= op.limit <= LIMIT_MAX:
            raise BadOperation(f"limit {op.limit}: must lie in 0 .. 2^62")
        given = [op.amounts] * count if isinstance(op.amounts, int) else op.amounts
        if len(given) != count:
            raise BadOperation(f"amounts: {len(given)} for {count} entries; give one for all, or one each")
        for amount in given:
            if not 1 <= amount <= AMOUNT_MAX:
                raise BadOperation(f"amount {amount}: must lie in 1 .. {AMOUNT_MAX}")
        return np.array(given, dtype=np.int64)

    def _carry(self, op: Grants, users: Users, *, lenient: bool) -> Grants:
        if not lenient:
            raise BadOperation("no operation of a client: what was granted is for the node to say")
        lines = np.frombuffer(op.lines, dtype=LINE).copy()
        if len(lines) != len(op.users):
            raise BadOperation(f"{len(lines)} lines for {len(op.users)} users")
        codes = np.array([self._labels.budget(label) for label in op.budgets], dtype=np.uint32)
        lines["budget"] = codes[lines["budget"]]
        rows = np.full(len(lines), self._all, dtype=np.uint32)
        named = [at for at, one in enumerate(op.users) if one is not None]
        rows[named] = users([one for one in op.users if one is not None])
        self._lines.take(self.staged, len(lines))
        self._desk.carry(rows, lines["amount"].astype(np.int64), lines)
        return op


AnyBudgetOp = Reserve | Spend | Release | Grants
