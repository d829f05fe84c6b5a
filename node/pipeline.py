"""One surface run on one request: the stages in order, written once, for every surface and every caller.

``execute`` is a plain generator. It yields where a worker may turn to something else (between components); the
framework around each component keeps its time and counts, and decides what a failure means, so that components need
not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from time import monotonic_ns
from typing import Any

import numpy as np

from mixline.kernels.checks import fits, is_choice, misfit
from mixline.kernels.slate import best_positions, drop
from mixline.node.backfill import backfilled
from mixline.node.block import DROPPED, LIVE, SHOWN, CandidateBlock, Candidates, merge
from mixline.node.call import Call
from mixline.node.components import Filter, QueryHydrator, Scorer, Selector, SideEffect, Source
from mixline.node.components.base import Best, Component
from mixline.node.components.hydrators.columns_hydrator import ColumnsHydrator
from mixline.node.config import STAGES, Surface
from mixline.node.errors import ConfigError, InternalError, NodeError
from mixline.node.page import Coverage
from mixline.node.scans import Scan
from mixline.storage.epoch import Epoch

INSIDE = "inside the sources"  # what a filter's coverage says when sources leave out what it would drop


class ComponentMisbehaved(Exception):
    """A component returned something of the wrong length or type."""


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
        self.late = stage == "filter" and component.late
        sifts = stage == "filter" and not self.why and not self.late
        self.excludes = sifts and type(component).excludes is not Filter.excludes
        self.admits = sifts and type(component).admits is not Filter.admits
        # Columns of the store that it writes with other values than the store's, as far as can be known.
        self.replaces = () if isinstance(component, ColumnsHydrator) else self.writes
        self.scans = stage == "source" and not self.why and type(component).scans is not Source.scans
        try:
            self.bound = None if self.why else component.bind(epoch)
        except Exception as error:  # a user's own component may raise anything: the surface is refused by name
            where = f"{surface.file}: {stage} {component.name!r}"
            raise ConfigError([f"{where}: bind: {type(error).__name__}: {error}"]) from error

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
        self.middle = [(step, run) for stage, run in MIDDLE for step in steps[stage] if not step.late]
        self.late = [step for step in steps["filter"] if step.late]
        self.shares = any(step.scans and step.component.shares(step.bound) for step in self.sources)
        self.selectors = steps["selector"]
        self.side_effects = steps["side_effect"]
        self.filter_names = [step.name for step in steps["filter"]]
        self.presenting = [
            at for at, step in enumerate(self.sources) if type(step.component).present is not Source.present
        ]
        self.source_names = [step.name for step in self.sources]
        self.excluding = [step for step in steps["filter"] if step.excludes]
        self.excluders = [step.component.excludes for step in self.excluding]
        replaced = {name for stage in ("hydrator", "scorer") for step in steps[stage] for name in step.replaces}
        stored = set(epoch.items.columns) - replaced
        self.admitters = [step for step in steps["filter"] if step.admits and step.component.reads() <= stored]
        for step in steps["filter"]:
            if step.excludes or step in self.admitters:
                step.how = INSIDE

    def in_order(self) -> Iterator[Step]:
        """All components in the order in which they run, which is that of the coverage."""
        yield from self.query_hydrators
        yield from self.sources
        yield from (step for step, _ in self.middle)
        yield from self.selectors
        yield from self.late
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
        found: list[tuple[str, list[Candidates]]] = []
        for step in self.sources:
            entry = step.entry()
            coverage.append(entry)
            brought: list[Candidates] = []
            began_ns = monotonic_ns()
            call.scans = {}
            if step.scans:
                guard(call, step, entry, wish)
                if call.scans:
                    yield [scan for scans in call.scans.values() for scan in scans]
            if entry.state != "failed":
                guard(call, step, entry, retrieve, brought)
            if call.scans:
                entry.us = (monotonic_ns() - began_ns) // 1000  # with the pass, and the company in it
            found.append((step.name, brought))
            yield None
        block = call.block = merge(found, self.keys)
        if call.shown_rows is not None:
            block.fate[np.isin(block.row, call.shown_rows)] = SHOWN
        for step, run in self.middle:
            entry = step.entry()
            coverage.append(entry)
            entry.taken = len(block)  # a filter counts its own
            guard(call, step, entry, run)
            yield None
        yield from self._select(call, coverage, limit)
        block.settle()
        for at in self.presenting:
            entry, spent_us = coverage[first + at], coverage[first + at].us
            guard(call, self.sources[at], entry, present)
            entry.us += spent_us

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
            coverage.extend(step.entry() for step in (*self.selectors, *self.late))
            return
        if self.late:
            slates = yield from backfilled(call, self.late, lambda: self._choose(call, coverage, limit), guard)
        else:
            slates = yield from self._choose(call, coverage, limit)
        block.slate = slates[0][:limit] if len(slates) == 1 else np.concatenate([slate[:limit] for slate in slates])

    def _choose(self, call: Call, coverage: list[Coverage], limit: int) -> Generator[None, None, list[np.ndarray]]:
        """The slates of all groups, as the selectors choose them out of what is live; their entries are the last."""
        slates = living(call.block, call.groups)
        spent_us = {}
        while coverage and coverage[-1].stage == "selector":  # they choose again
            before = coverage.pop()
            spent_us[before.name] = before.us
        for step in self.selectors:
            entry = step.entry()
            coverage.append(entry)
            chosen: list[np.ndarray] = []
            guard(call, step, entry, select, slates, chosen, limit)
            entry.us += spent_us.get(step.name, 0)
            if len(chosen) == len(slates):
                before_count, slates = sum(map(len, slates)), chosen
                entry.taken = sum(map(len, slates))
                entry.left = before_count - entry.taken
            yield
        return [slate[:limit] for slate in slates]


def final_column(surface: Surface) -> str:
    """The column a page's scores come from: what the last ordering selector orders by, else the last scorer."""
    for selector in reversed(surface.components.get("selector", ())):
        if by := getattr(selector, "by", ""):
            return by
    scorers = surface.components.get("scorer", ())
    return scorers[-1].name if scorers else ""


def living(block: CandidateBlock, groups: int) -> list[np.ndarray]:
    """Positions that no filter dropped, by group."""
    live = block.live
    if groups == 1:
        return [live]
    edges = np.searchsorted(block.group[live], np.arange(groups + 1)).tolist()
    return [live[start:stop] for start, stop in pairwise(edges)]


def guard(call: Call, step: Step, entry: Coverage, run: Callable[..., None], *given: Any) -> None:
    """Run one component: time it, hold it to its share of the deadline, and turn a failure into coverage."""
    if step.why:
        stand_in(call, step, np.nan)
        return
    component: Component = step.component
    started_ns = monotonic_ns()
    whole_ns = call.deadline_ns
    call.degraded, call.bound, call.entry = [], step.bound, entry
    if component.share < 1.0:
        call.deadline_ns = started_ns + max(0, int((whole_ns - started_ns) * component.share))
    try:
        run(call, step, entry, *given)
        if call.degraded:
            entry.state, entry.why = "degraded", "; ".join(dict.fromkeys(call.degraded))
    except NodeError:
        raise  # the request itself is wrong, or asks for what is not there
    except Exception as error:  # a component may raise anything: it harms itself, or at worst its own request
        entry.state, entry.why = "failed", f"{type(error).__name__}: {error}"
        if component.on_error == "fail":
            raise InternalError(f"{entry.stage} {entry.name!r} failed: {entry.why}") from error
        stand_in(call, step, 0.0 if component.on_error == "default" else np.nan)
    finally:
        call.deadline_ns = whole_ns
        entry.us = (monotonic_ns() - started_ns) // 1000


def stand_in(call: Call, step: Step, value: float) -> None:
    """Fill the columns that a component did not write: with NaN they are missing. Columns of the store stay."""
    if step.stage in ("source", "query_hydrator"):
        return  # its score column is made with the block
    for name in step.writes:
        if value == 0.0 or name not in call.epoch.items.columns:
            call.block.columns.setdefault(name, np.full(len(call.block), value, dtype=np.float32))


def understand(call: Call, step: Step, entry: Coverage, surface: Surface) -> None:
    """Let it say what it makes of the request; of a parameter only what the surface allows."""
    hydrator: QueryHydrator = step.component
    ask, params = call.ask, call.params
    try:
        hydrator.hydrate_query(call)
        for name, value in call.params.items() if surface.params else ():
            declared = surface.params.get(name)
            fault = "is none of the surface's [params]" if declared is None else declared.fault(value)
            if fault:
                raise ComponentMisbehaved(f"params.{name} = {value!r}: {fault}")
    except BaseException:
        call.ask, call.params = ask, params
        raise


def wish(call: Call, step: Step, entry: Coverage) -> None:
    """Ask for the scans of a source, one for each group that needs one."""
    source: Source = step.component
    for group in range(call.groups):
        if scans := source.scans(call, group):
            call.scans[group] = scans


def retrieve(call: Call, step: Step, entry: Coverage, brought: list[Candidates]) -> None:
    """Candidates of every group, or of none when one fails; groups that the deadline leaves out have none."""
    parts: list[Candidates] = []
    source: Source = step.component
    for group in range(call.groups):
        if group and call.stopped():
            call.degraded.append(f"deadline after {group} of {call.groups} users")
            parts += [Candidates.none()] * (call.groups - group)
            break
        parts.append(source.retrieve(call, group))
    count, taken = call.items_end, 0
    for at, part in enumerate(parts):
        if not fits(part.rows, part.scores, count):
            parts[at] = fitted(part, count)
        taken += len(part.rows)
    brought.extend(parts)
    entry.taken = taken


def present(call: Call, step: Step, entry: Coverage) -> None:
    """Let a source say more of what is on the page."""
    source: Source = step.component
    source.present(call, call.block.row[call.block.slate])


def fitted(part: Candidates, count: int) -> Candidates:
    """Candidates of other types as a block takes them; :class:`ComponentMisbehaved` when they are none."""
    rows, scores = np.asarray(part.rows), np.asarray(part.scores)
    if rows.shape != scores.shape or rows.ndim != 1:
        raise ComponentMisbehaved(f"{len(part.rows)} rows with {len(part.scores)} scores")
    for row in (int(rows.min()), int(rows.max())) if len(rows) else ():
        if not 0 <= row < count:
            raise ComponentMisbehaved(f"row {row} of {count} items")
    return Candidates(np.ascontiguousarray(rows, dtype=np.uint32), np.ascontiguousarray(scores, dtype=np.float32))


def hydrate(call: Call, step: Step, entry: Coverage) -> None:
    """Let it write, and see that each column has the block's length."""
    step.component.hydrate(call)
    columns = call.block.columns
    name = misfit(columns, step.writes, len(call.block))
    while name is not None:
        check_length(call.block, columns.get(name), name)
        columns[name] = np.asarray(columns[name])  # a list of the right length will do
        name = misfit(columns, step.writes, len(call.block))


def sift(call: Call, step: Step, entry: Coverage) -> None:
    """Give what the filter drops its fate, and count kept and removed."""
    dropped = step.component.drops(call)
    check_length(call.block, dropped, "drops")
    dropped = np.ascontiguousarray(dropped, dtype=bool)
    entry.taken, entry.left = drop(call.block.fate, dropped, LIVE, DROPPED + step.at)


def score(call: Call, step: Step, entry: Coverage) -> None:
    """Keep the scorer's column under its name; where it scores the best alone it sees a block of these."""
    scorer: Scorer = step.component
    block = call.block
    if scorer.best is None:
        block.columns[step.name] = scored(call, step)
        return
    positions = best_of(call, scorer.best)
    scores = np.full(len(block), np.nan, dtype=np.float32)
    call.block = block.part(positions)
    try:
        scores[positions] = scored(call, step)
    finally:
        call.block = block
    block.columns[step.name] = scores
    entry.taken, entry.left = len(positions), len(block) - len(positions)


def scored(call: Call, step: Step) -> np.ndarray:
    """The scores (float32) of the candidates in the call's block."""
    scores = step.component.score(call)
    check_length(call.block, scores, step.name)
    return np.asarray(scores, dtype=np.float32)


def best_of(call: Call, best: Best) -> np.ndarray:
    """Positions (int64, ascending) of the best candidates of every group that no filter dropped."""
    scores, keys = call.numbers(best.by), call.block.key
    parts = [best_positions(scores, keys, some, best.count) for some in living(call.block, call.groups)]
    return np.sort(np.concatenate(parts))


def select(
    call: Call, step: Step, entry: Coverage, slates: list[np.ndarray], chosen: list[np.ndarray], limit: int
) -> None:
    """Let it order and take per group, and see that it only took what was there."""
    selector: Selector = step.component
    found = selector.select_all(call, slates, limit)
    if len(found) != len(slates):
        raise ComponentMisbehaved(f"took of {len(found)} groups out of {len(slates)}")
    for slate, one in zip(slates, found, strict=True):
        taken = np.asarray(one)
        legal = taken.dtype.kind in "iu" or not len(taken)
        taken = np.ascontiguousarray(taken, dtype=np.int64)
        if not legal or not is_choice(taken, slate, len(call.block)):
            raise ComponentMisbehaved("took a candidate twice, or one that was not offered")
        chosen.append(taken)


def after(call: Call, step: Step, entry: Coverage) -> None:
    """Let a side effect use the settled block."""
    effect: SideEffect = step.component
    effect.after(call)


def check_length(block: CandidateBlock, column: np.ndarray | None, name: str) -> None:
    """Columns are as long as the block, whoever wrote them."""
    shape = None if column is None else np.shape(column)
    if shape != (len(block),):
        raise ComponentMisbehaved(f"column {name!r} has shape {shape}, the block {len(block)} candidates")


MIDDLE: tuple[tuple[str, Callable[..., None]], ...] = (("hydrator", hydrate), ("filter", sift), ("scorer", score))
