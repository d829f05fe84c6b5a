"""What surrounds every component: its time, its part of the deadline, and what a failure of it means.

A component that waits runs in a thread, on a request and columns of its own; what it made is taken over when it comes
back in time, so that one that comes late, or never, has touched nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from mixline.kernels.accumulate import Scratch
from mixline.kernels.slate import drop
from mixline.node.block import DROPPED, LIVE
from mixline.node.call import Call
from mixline.node.components.base import Component
from mixline.node.errors import InternalError, NodeError
from mixline.node.page import DEADLINE, Coverage
from mixline.node.threads import LOOK_S, THREADS, Job, NoThread

if TYPE_CHECKING:
    from mixline.node.pipeline import Step

KEPT = 1 / 8  # of the time that is left, which no component that waits may take
TOLD = tuple(field.name for field in msgspec.structs.fields(Coverage) if field.name not in ("name", "stage", "kind"))


class Pending(NamedTuple):
    """A run that has begun in a thread; ``apart``: the call as it sees it."""

    step: Step
    entry: Coverage
    apart: Call
    job: Job
    began_ns: int


def guard(call: Call, step: Step, entry: Coverage, run: Callable[..., None], *given: Any) -> None:
    """Run one component: time it, hold it to its part of the deadline, and turn a failure into coverage."""
    if step.why:
        stand_in(call, step, np.nan)
        return
    if step.waits:
        pending = begin(call, step, entry, run, *given)
        if pending is not None:
            settle(call, pending)
        return
    started_ns = monotonic_ns()
    whole_ns, ahead_ns, cost = call.deadline_ns, call.ahead_ns, step.cost
    call.degraded, call.bound, call.entry = [], step.bound, entry
    if ahead_ns > 0 or step.partly:
        if not step.partly and whole_ns - started_ns > ahead_ns + cost.need_ns > ahead_ns:
            call.deadline_ns = whole_ns - int(ahead_ns)
        else:
            call.deadline_ns = allotted(call, step, started_ns)
    try:
        run(call, step, entry, *given)
        if call.degraded:
            entry.state, entry.why = "degraded", "; ".join(dict.fromkeys(call.degraded))
        elif call.measures:
            cost.note(monotonic_ns() - started_ns)
    except NodeError:
        raise  # the request itself is wrong, or asks for what is not there
    except Exception as error:  # noqa: BLE001  # it may raise anything, and harms itself or at worst its own request
        fail(call, step, entry, f"{type(error).__name__}: {error}", error)
    finally:
        call.deadline_ns = whole_ns
        entry.us = (monotonic_ns() - started_ns) // 1000


def allotted(call: Call, step: Step, started_ns: int) -> int:
    """Until when a component may run: what those behind it usually take is kept for them, and where that and its own
    is more than there is, each gets its part of what there is."""
    left_ns = max(0, call.deadline_ns - started_ns)
    own_ns, ahead_ns = step.cost.need_ns, call.ahead_ns
    share_ns = left_ns * step.component.share
    if step.waits:  # what it is not back by is over, and then there must be time for a page without it
        share_ns = min(share_ns, left_ns * (1.0 - KEPT))
        share_ns = min(share_ns, max(left_ns - ahead_ns, left_ns / 2))
    elif own_ns and ahead_ns > 0:
        enough = left_ns >= own_ns + ahead_ns
        share_ns = min(share_ns, left_ns - ahead_ns if enough else left_ns * own_ns / (own_ns + ahead_ns))
    return started_ns + int(share_ns)


def begin(call: Call, step: Step, entry: Coverage, run: Callable[..., None], *given: Any) -> Pending | None:
    """Start a component that waits; None when it cannot start, which is its failure."""
    began_ns = monotonic_ns()
    call.entry = entry
    apart = copy.copy(call)
    apart.degraded, apart.bound, apart.told = [], step.bound, {}
    apart.entry, apart.scratch, apart.writes = copy.copy(entry), Scratch(), None
    apart.deadline_ns = allotted(call, step, began_ns)
    if hasattr(call, "block"):
        apart.block = call.block.apart()
    job = Job(f"{step.stage} {step.name}", partial(run, apart, step.twin, apart.entry, *given))
    apart.pulse = partial(getattr, job, "given_up")
    try:
        THREADS.start(job)
    except NoThread as error:
        fail(call, step, entry, str(error), error)
        return None
    return Pending(step, entry, apart, job, began_ns)


def settle(call: Call, pending: Pending) -> None:
    """Wait for a component, to the end of its part of the deadline, and take over what it made."""
    step, entry, apart, job, began_ns = pending
    call.entry = entry
    error: BaseException | None = None
    try:
        if not came_back(call, apart, job):
            given_ms = (apart.deadline_ns - began_ns) / 1e6
            held = THREADS.held.get(job.owner, 1)
            fail(call, step, entry, f"{DEADLINE}: not back after {given_ms:.0f} ms ({held} of its runs are not)", None)
            return
        error = job.error
        if error is None:
            take_over(call, step, entry, apart)
            if apart.degraded:
                entry.state, entry.why = "degraded", "; ".join(dict.fromkeys(apart.degraded))
            else:
                step.cost.note(monotonic_ns() - began_ns)
        elif isinstance(error, NodeError):
            raise error
        else:
            fail(call, step, entry, f"{type(error).__name__}: {error}", error)
    finally:
        entry.us = (monotonic_ns() - began_ns) // 1000


def came_back(call: Call, apart: Call, job: Job) -> bool:
    """Whether it did in time; this process's heart beats meanwhile."""
    while True:
        left_s = (apart.deadline_ns - monotonic_ns()) / 1e9
        if job.done.wait(max(0.0, min(left_s, LOOK_S))):
            return True
        if left_s <= 0 or call.pulse():
            return not THREADS.give_up(job)


def take_over(call: Call, step: Step, entry: Coverage, apart: Call) -> None:
    """Put what a component made on its own into the request."""
    for name in TOLD:
        setattr(entry, name, getattr(apart.entry, name))
    call.told.update(apart.told)
    if step.stage == "query_hydrator":
        call.ask, call.params = apart.ask, apart.params
    elif step.stage == "filter":
        gone = apart.block.fate == DROPPED + step.at
        kept, left = drop(call.block.fate, gone, LIVE, DROPPED + step.at)
        if not step.late:
            entry.taken, entry.left = kept, left
    elif step.stage in ("hydrator", "scorer"):
        for name in step.writes:
            call.block.columns[name] = apart.block.columns[name]


def fail(call: Call, step: Step, entry: Coverage, why: str, error: BaseException | None) -> None:
    """Say that a component failed, and do as its ``on_error`` says."""
    component: Component = step.component
    entry.state, entry.why = "failed", why
    if component.on_error == "fail":
        raise InternalError(f"{entry.stage} {entry.name!r} failed: {why}") from error
    stand_in(call, step, 0.0 if component.on_error == "default" else np.nan)


def stand_in(call: Call, step: Step, value: float) -> None:
    """Fill the columns that a component did not write: with NaN they are missing. Columns of the store stay."""
    if step.stage in ("source", "query_hydrator"):
        return  # its score column is made with the block
    for name in step.writes:
        if value == 0.0 or name not in call.epoch.items.columns:
            call.block.columns.setdefault(name, np.full(len(call.block), value, dtype=np.float32))


class Cost:
    """What a component usually takes: the mean of its runs that were whole, the latest counting most, and twice as much
    more as they differ from it (as for TCP's timeouts, RFC 6298)."""

    __slots__ = ("mean_ns", "need_ns", "spread_ns")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """As if it had never run."""
        self.mean_ns = self.spread_ns = self.need_ns = 0.0

    def note(self, took_ns: int) -> None:
        """One more run."""
        if self.mean_ns:
            differs = took_ns - self.mean_ns
            self.mean_ns += differs / 16
            self.spread_ns += (abs(differs) - self.spread_ns) / 16
        else:
            self.mean_ns = float(took_ns)
        self.need_ns = self.mean_ns + 2.0 * self.spread_ns
