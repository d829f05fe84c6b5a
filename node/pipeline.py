"""One surface run on one request: the stages in order, written once, for every surface and every caller.

``execute`` is a plain generator. It yields where a worker may turn to something else (between components); the
framework around each component keeps its time and counts, and decides what a failure means, so that components need
not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator
from time import monotonic_ns
from typing import Any

import numpy as np

from mixline.node.arranging import Stage, unread, waits
from mixline.node.backfill import backfilled
from mixline.node.block import SHOWN, Candidates, merge
from mixline.node.call import Call
from mixline.node.components import Filter, Source
from mixline.node.components.base import coroutines_of, in_turn
from mixline.node.components.hydrators.columns_hydrator import ColumnsHydrator
from mixline.node.config import STAGES, Surface
from mixline.node.errors import ConfigError, NodeError
from mixline.node.filter_order import Sifted
from mixline.node.guarding import Cost, Pending, begin, guard, settle
from mixline.node.page import Coverage
from mixline.node.scans import Scan
from mixline.node.stages import (
    after,
    check_coverage,
    hydrate,
    living,
    present,
    retrieve,
    score,
    select,
    sift,
    understand,
    wish,
)
from mixline.node.threads import Awaited
from mixline.storage.epoch import Epoch

INSIDE = "inside the sources"  # what a filter's coverage says when sources leave out what it would drop
MIDDLE: tuple[tuple[str, Callable[..., None]], ...] = (("hydrator", hydrate), ("filter", sift), ("scorer", score))


MEASURED_FIRST, MEASURED_NTH = 64, 8  # requests of which it is noted what their components take


class Step:
    """A component bound to an epoch: all about it that no request changes."""

    def __init__(self, surface: Surface, stage: str, at: int, epoch: Epoch) -> None:
        component: Any = surface.components[stage][at]
        self.component = component
        self.name = component.name
        self.kind = component.kind
        self.stage = stage
        self.at = at
        self.why = component.disabled(epoch)
        self.state = "disabled" if self.why else "ok"
        self.writes = tuple(component.writes())
        self.how = ""
        self.cost = Cost()
        self.partly = component.share < 1.0
        self.commutes = stage == "filter" and component.commutes and not self.why
        self.sifted = Sifted()
        coroutines = coroutines_of(type(component))
        self.waits = component.blocking or bool(coroutines)
        self.twin = self  # as a thread runs it
        if coroutines:
            self.twin = copy.copy(self)
            self.twin.component = Awaited(component, coroutines)
        self.late = stage == "filter" and component.late
        sifts = stage == "filter" and not self.why and not self.late
        self.excludes = sifts and type(component).excludes is not Filter.excludes
        self.admits = sifts and type(component).admits is not Filter.admits
        # Columns of the store that it writes with other values than the store's, as far as can be known.
        self.replaces = () if isinstance(component, ColumnsHydrator) else self.writes
        self.scans = stage == "source" and not self.why and not self.waits and type(component).scans is not Source.scans
        try:
            self.bound = None if self.why else component.bind(epoch)
        except Exception as error:  # a user's own component may raise anything: the surface is refused by name
            where = f"{surface.file}: {stage} {component.name!r}"
            raise ConfigError([f"{where}: bind: {type(error).__name__}: {error}"]) from error

    def presenting(self) -> Step:
        """The same source when it says more of what is on the page, which has a cost of its own."""
        step = copy.copy(self)
        step.cost = Cost()
        return step

    def entry(self) -> Coverage:
        """A coverage entry, fresh for a request."""
        return Coverage(self.name, self.stage, self.kind, self.state, self.why, how=self.how)


class Pipeline:
    """A surface bound to an epoch: whatever does not depend on the request is decided once."""

    steps: dict[str, list[Step]]

    def __init__(self, surface: Surface, epoch: Epoch, base: Pipeline | None = None) -> None:
        """``base``: one of the same surface with other values of parameters, to share what they do not touch."""
        self.surface = surface
        self.deadline_ns = int(surface.deadline_ms * 1e6)
        self.final = final_column(surface)
        self.keys = epoch.items.keys
        steps: dict[str, list[Step]] = {
            stage: [
                base.steps[stage][at]
                if base is not None and base.surface.components[stage][at] is component
                else Step(surface, stage, at, epoch)
                for at, component in enumerate(surface.components.get(stage, ()))
            ]
            for stage in STAGES
        }
        self.steps = steps
        self.query_hydrators = steps["query_hydrator"]
        self.sources = steps["source"]
        self.runs, self.whole_ns = 0, 0.0  # and what all components together usually take
        given = set(epoch.items.columns)
        turns: dict[str, list[int]] = {}
        for stage in STAGES:
            components = [step.component for step in steps[stage] if not step.late]
            turns[stage] = in_turn(components, given)
            given.update(*(component.writes() for component in components))
        some = {stage: [step for step in steps[stage] if not step.late] for stage in STAGES}
        self.every = [some[stage][at] for stage in STAGES[:-1] for at in turns[stage]]
        self.unread = unread([*self.every, *steps["side_effect"]], self.final)
        self.middle = [Stage(some[stage], run, self.unread, turns[stage]) for stage, run in MIDDLE if some[stage]]
        self.late = [step for step in steps["filter"] if step.late]
        self.waiting = [at for at, step in enumerate(self.sources) if waits(step)]
        self.waits = any(waits(step) for some in steps.values() for step in some)
        self.shares = any(step.scans and step.component.shares(step.bound) for step in self.sources)
        self.selectors = [step for step in steps["selector"] if not step.component.commits]
        self.committing = [step for step in steps["selector"] if step.component.commits]
        self.side_effects = steps["side_effect"]
        self.filter_names = [step.name for step in steps["filter"]]
        self.presenting = [
            (at, step.presenting())
            for at, step in enumerate(self.sources)
            if type(step.component).present is not Source.present
        ]
        behind = [step for step in self.every if step.stage != "query_hydrator"]  # those run before `execute`
        self.costs = [step.cost for step in (*behind, *(step for _, step in self.presenting))]
        self.source_names = [step.name for step in self.sources]
        self.excluding = [step for step in steps["filter"] if step.excludes]
        self.excluders = [step.component.excludes for step in self.excluding]
        replaced = {name for stage in ("hydrator", "scorer") for step in steps[stage] for name in step.replaces}
        stored = set(epoch.items.columns) - replaced
        self.admitters = [step for step in steps["filter"] if step.admits and step.component.reads() <= stored]
        for step in steps["filter"]:
            if step.excludes or step in self.admitters:
                step.how = INSIDE

    def forget_costs(self) -> None:
        """As if no component had ever run: what first runs take says nothing."""
        for cost in (*self.costs, *(step.cost for step in self.query_hydrators)):
            cost.forget()
        self.runs, self.whole_ns = 0, 0.0

    def choose_orders(self) -> None:
        """Choose the order of filters now, by what they took so far."""
        for stage in self.middle:
            stage.choose()

    def in_order(self) -> Iterator[Step]:
        """All components in the order of the coverage: that of the stages, and of the file."""
        return self._listed(lambda stage: stage.steps)

    def as_asked(self) -> Iterator[Step]:
        """The same, with filters in the order in which they are asked now."""
        return self._listed(lambda stage: [stage.steps[at] for at in stage.order.places])

    def _listed(self, steps_of: Callable[[Stage], Iterable[Step]]) -> Iterator[Step]:
        yield from self.query_hydrators
        yield from self.sources
        for stage in self.middle:
            yield from steps_of(stage)
        yield from self.selectors
        yield from self.late
        yield from self.committing
        yield from self.side_effects

    def understand(self, call: Call) -> None:
        """Run the query hydrators, which comes before :meth:`execute`: parameters that they set may ask for a pipeline
        with other values (:meth:`Variants.understood`)."""
        for step in self.query_hydrators:
            entry = step.entry()
            call.coverage.append(entry)
            guard(call, step, entry, understand, self.surface)

    def execute(self, call: Call, limit: int) -> Generator[list[Scan] | None, None, None]:
        """Run every stage. The settled block is ``call.block``, its slate in page order; ``call.coverage`` says what
        each component did.

        Yields the scans that it waits for, or None between components.
        """
        coverage, first = call.coverage, len(call.coverage)
        call.excluders, call.admitters = self.excluders, self.admitters
        if call.shown_rows is not None:
            call.excluders = [*self.excluders, lambda call, group: call.shown_rows]
        self.runs += 1
        if self.runs < MEASURED_FIRST or not self.runs % MEASURED_NTH:
            call.measures = True
            self.whole_ns = sum([cost.need_ns for cost in self.costs])
        call.ahead_ns = self.whole_ns
        found = (yield from self._retrieve(call)) if self.sources else []
        if self.surface.min_coverage:
            check_coverage(self.surface, coverage[first:])
        block = call.block = merge(found, self.keys)
        if call.shown_rows is not None:
            block.fate[np.isin(block.row, call.shown_rows)] = SHOWN
        for stage in self.middle:
            yield from stage.execute(call)
        yield from self._select(call, coverage, limit)
        block.settle()
        for at, step in self.presenting:
            entry, spent_us = coverage[first + at], coverage[first + at].us
            call.ahead_ns -= step.cost.need_ns
            guard(call, step, entry, present)
            entry.us += spent_us

    def _retrieve(self, call: Call) -> Generator[list[Scan] | None, None, list[tuple[str, list[Candidates]]]]:
        """What every source brings. Those that wait begin first and are waited for last."""
        entries = [step.entry() for step in self.sources]
        call.coverage += entries
        brought: list[list[Candidates]] = [[] for _ in entries]
        begun: list[tuple[int, Pending | None]] = []
        if self.waiting:
            call.ahead_ns -= sum(self.sources[at].cost.need_ns for at in self.waiting)
            begun = [(at, begin(call, self.sources[at], entries[at], retrieve, brought[at])) for at in self.waiting]
        for at, step in enumerate(self.sources):
            if step.waits and not step.why:
                continue
            entry = entries[at]
            call.ahead_ns -= step.cost.need_ns
            call.scans = {}
            if step.scans:
                call.wished = {}
                began_ns = monotonic_ns()
                guard(call, step, entry, wish)
                if call.scans:
                    yield [scan for scans in call.scans.values() for scan in scans]
            if entry.state != "failed":
                guard(call, step, entry, retrieve, brought[at])
            if call.scans:
                entry.us = (monotonic_ns() - began_ns) // 1000  # with the pass, and the company in it
            yield None
        for at, pending in begun:
            if pending is not None:
                settle(call, pending)
            if entries[at].state == "failed":
                brought[at] = []  # whatever its thread may still put into the other
            yield None
        return [*zip(self.source_names, brought, strict=True)]

    def after(self, call: Call) -> list[Coverage]:
        """Side effects, once the reply was sent; what each did."""
        entries = []
        for step in self.side_effects:
            entries.append(step.entry())
            try:
                guard(call, step, entries[-1], after)
            except NodeError as error:  # the request has its answer
                entries[-1].state, entries[-1].why = "failed", str(error)
        return entries

    def _select(self, call: Call, coverage: list[Coverage], limit: int) -> Generator[None, None, None]:
        block = call.block
        if not len(block):  # nothing to order: the entries of the selectors say so
            coverage.extend(step.entry() for step in (*self.selectors, *self.late, *self.committing))
            return
        if self.late:
            reach = max([limit, *(step.component.reach(limit) for step in self.committing)])
            slates = yield from backfilled(call, self.late, lambda: self._choose(call, coverage, reach), guard)
        else:
            slates = yield from self._choose(call, coverage, limit)
        if self.committing:
            slates = yield from self._take(self.committing, call, coverage, slates, limit, {})
        block.slate = slates[0][:limit] if len(slates) == 1 else np.concatenate([slate[:limit] for slate in slates])

    def _choose(self, call: Call, coverage: list[Coverage], limit: int) -> Generator[None, None, list[np.ndarray]]:
        """The slates of all groups, as the selectors choose them out of what is live; their entries are the last."""
        slates = living(call.block, call.groups)
        spent_us = {}
        while coverage and coverage[-1].stage == "selector":  # they choose again
            before = coverage.pop()
            spent_us[before.name] = before.us
        slates = yield from self._take(self.selectors, call, coverage, slates, limit, spent_us)
        if self.late or not self.committing:
            slates = [slate[:limit] for slate in slates]
        return slates

    def _take(
        self,
        steps: list[Step],
        call: Call,
        coverage: list[Coverage],
        slates: list[np.ndarray],
        limit: int,
        spent_us: dict[str, int],
    ) -> Generator[None, None, list[np.ndarray]]:
        """What some selectors, one behind the other, take of ``slates``."""
        for step in steps:
            entry = step.entry()
            coverage.append(entry)
            chosen: list[np.ndarray] = []
            call.ahead_ns -= step.cost.need_ns
            guard(call, step, entry, select, slates, chosen, limit)
            entry.us += spent_us.get(step.name, 0)
            if len(chosen) == len(slates):
                before_count, slates = sum(map(len, slates)), chosen
                entry.taken = sum(map(len, slates))
                entry.left = before_count - entry.taken
            yield
        return slates


def final_column(surface: Surface) -> str:
    """The column a page's scores come from: what the last ordering selector orders by, else the last scorer."""
    for selector in reversed(surface.components.get("selector", ())):
        if by := getattr(selector, "by", ""):
            return by
    scorers = surface.components.get("scorer", ())
    return scorers[-1].name if scorers else ""
