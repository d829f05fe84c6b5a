"""One surface run on one request: the stages in order, written once, for every surface and every caller.

``execute`` is a plain generator. It yields where a worker may turn to something else (between components) and returns
the block and the coverage; the framework around each component keeps its time and counts, and decides what a failure
means, so that components need not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import numpy as np

from mixline.kernels.blend import is_choice
from mixline.node.block import DROPPED, LIVE, CandidateBlock, Candidates, merge
from mixline.node.call import Call
from mixline.node.components import Filter, Hydrator, Scorer, Selector, SideEffect, Source
from mixline.node.components.base import Component
from mixline.node.config import STAGES, Surface
from mixline.node.errors import InternalError, NodeError
from mixline.node.page import Coverage
from mixline.storage.epoch import Epoch


class ComponentMisbehaved(Exception):
    """A component returned something of the wrong length or type."""


class Pipeline:
    """A surface bound to an epoch: what is disabled here is decided once."""

    def __init__(self, surface: Surface, epoch: Epoch) -> None:
        self.surface = surface
        self.disabled = {
            (stage, at): why
            for stage in STAGES
            for at, component in enumerate(surface.components.get(stage, ()))
            if (why := component.disabled(epoch))
        }
        self.source_names = [component.name for component in surface.components.get("source", ())]

    def stage(self, stage: str) -> Iterator[tuple[Any, Coverage]]:
        """Components of a stage with their coverage entries, fresh for a request."""
        for at, component in enumerate(self.surface.components.get(stage, ())):
            why = self.disabled.get((stage, at), "")
            state = "disabled" if why else "ok"
            yield component, Coverage(component.name, stage, component.kind, state, why)

    def execute(self, call: Call, limit: int) -> Generator[None, None, list[Coverage]]:
        """Run every stage; the settled block is ``call.block``, its slate in page order."""
        coverage: list[Coverage] = []
        filters: tuple[Component, ...] = self.surface.components.get("filter", ())
        call.excluders = [f.excludes for f in filters if type(f).excludes is not Filter.excludes]  # type: ignore[attr-defined]
        yield from self._retrieve(call, coverage)
        for stage, run in STEPS:
            for at, (component, entry) in enumerate(self.stage(stage)):
                coverage.append(entry)
                entry.taken = len(call.block)  # a filter counts its own
                guard(call, component, entry, partial(run, call, component, entry, at))
                yield
        yield from self._select(call, coverage, limit)
        call.block.settle()
        return coverage

    def after(self, call: Call) -> None:
        """Side effects, once the reply is made."""
        for component, entry in self.stage("side_effect"):
            if isinstance(component, SideEffect):
                guard(call, component, entry, partial(component.after, call))

    def _retrieve(self, call: Call, coverage: list[Coverage]) -> Generator[None, None, None]:
        found: list[tuple[str, list[Candidates]]] = []
        for component, entry in self.stage("source"):
            coverage.append(entry)
            brought: list[Candidates] = []
            guard(call, component, entry, partial(retrieve, call, component, brought))
            entry.taken = sum(len(part.rows) for part in brought)
            found.append((component.name, brought))
            yield
        call.block = merge(found, call.epoch.items.keys)

    def _select(self, call: Call, coverage: list[Coverage], limit: int) -> Generator[None, None, None]:
        block = call.block
        if not len(block):  # nothing to order: the entries of the selectors say so
            coverage.extend(entry for _, entry in self.stage("selector"))
            return
        live = block.live
        slates = [live]
        if call.groups > 1:
            edges = np.searchsorted(block.group[live], np.arange(call.groups + 1))
            slates = [live[edges[group] : edges[group + 1]] for group in range(call.groups)]
        for component, entry in self.stage("selector"):
            coverage.append(entry)
            chosen: list[np.ndarray] = []
            guard(call, component, entry, partial(select, call, component, slates, chosen, limit))
            if len(chosen) == len(slates):
                before, slates = sum(map(len, slates)), chosen
                entry.taken = sum(map(len, slates))
                entry.left = before - entry.taken
            yield
        block.slate = np.concatenate([slate[:limit] for slate in slates]).astype(np.int64)


def guard(call: Call, component: Component, entry: Coverage, work: Callable[[], None]) -> None:
    """Run one component: time it, hold it to its share of the deadline, and turn a failure into coverage."""
    if entry.state == "disabled":
        stand_in(call, component, entry, np.nan)
        return
    started_ns = time.monotonic_ns()
    whole_ns, call.degraded = call.deadline_ns, []
    if component.share < 1.0:
        call.deadline_ns = started_ns + max(0, int((whole_ns - started_ns) * component.share))
    try:
        work()
        if call.degraded:
            entry.state, entry.why = "degraded", "; ".join(dict.fromkeys(call.degraded))
    except NodeError:
        raise  # the request itself is wrong, or asks for what is not there
    except Exception as error:  # a component may raise anything: it harms itself, or at worst its own request
        entry.state, entry.why = "failed", f"{type(error).__name__}: {error}"
        if component.on_error == "fail":
            raise InternalError(f"{entry.stage} {entry.name!r} failed: {entry.why}") from error
        stand_in(call, component, entry, 0.0 if component.on_error == "default" else np.nan)
    finally:
        call.deadline_ns = whole_ns
        entry.us = (time.monotonic_ns() - started_ns) // 1000


def stand_in(call: Call, component: Component, entry: Coverage, value: float) -> None:
    """Fill the columns that a component did not write: with NaN they are missing. Columns of the store stay."""
    if entry.stage == "source":
        return  # its score column is made with the block
    for name in component.writes():
        if value == 0.0 or name not in call.epoch.items.columns:
            call.block.columns.setdefault(name, np.full(len(call.block), value, dtype=np.float32))


def retrieve(call: Call, source: Source, brought: list[Candidates]) -> None:
    """Candidates of every group, or of none when one fails; groups that the deadline leaves out have none."""
    parts: list[Candidates] = []
    for group in range(call.groups):
        if group and call.stopped():
            call.degraded.append(f"deadline after {group} of {call.groups} users")
            parts += [Candidates.none()] * (call.groups - group)
            break
        parts.append(source.retrieve(call, group))
    for part in parts:
        if len(part.rows) != len(part.scores):
            raise ComponentMisbehaved(f"{len(part.rows)} rows with {len(part.scores)} scores")
        if len(part.rows) and int(part.rows.max()) >= call.epoch.items.count:
            raise ComponentMisbehaved(f"row {int(part.rows.max())} of {call.epoch.items.count} items")
    brought.extend(parts)


def hydrate(call: Call, hydrator: Hydrator, entry: Coverage, at: int) -> None:
    """Let it write, and see that each column has the block's length."""
    hydrator.hydrate(call)
    columns, shape = call.block.columns, (len(call.block),)
    for name in hydrator.writes():
        column = columns.get(name)
        if type(column) is not np.ndarray or column.shape != shape:
            check_length(call.block, column, name)


def drop(call: Call, component: Filter, entry: Coverage, at: int) -> None:
    """Give what the filter drops its fate, and count kept and removed."""
    dropped = component.drops(call)
    check_length(call.block, dropped, "drops")
    fate = call.block.fate
    falling = (fate == LIVE) & dropped.astype(bool)
    fate[falling] = DROPPED + at
    entry.taken = int((fate == LIVE).sum())
    entry.left = int(falling.sum())


def score(call: Call, scorer: Scorer, entry: Coverage, at: int) -> None:
    """Keep the scorer's column under its name."""
    scores = scorer.score(call)
    check_length(call.block, scores, scorer.name)
    call.block.columns[scorer.name] = np.asarray(scores, dtype=np.float32)


def select(call: Call, selector: Selector, slates: list[np.ndarray], chosen: list[np.ndarray], limit: int) -> None:
    """Let it order and take per group, and see that it only took what was there."""
    for slate in slates:
        taken = np.asarray(selector.select(call, slate, limit))
        if not len(slate) or taken.dtype.kind not in "iu":
            legal = not len(taken)
        else:
            legal = is_choice(taken.astype(np.int64, copy=False), slate, len(call.block))
        if not legal:
            raise ComponentMisbehaved("took a candidate twice, or one that was not offered")
        chosen.append(taken)


def check_length(block: CandidateBlock, column: np.ndarray | None, name: str) -> None:
    """Columns are as long as the block, whoever wrote them."""
    shape = None if column is None else np.shape(column)
    if shape != (len(block),):
        raise ComponentMisbehaved(f"column {name!r} has shape {shape}, the block {len(block)} candidates")


STEPS: tuple[tuple[str, Callable[..., None]], ...] = (("hydrator", hydrate), ("filter", drop), ("scorer", score))
