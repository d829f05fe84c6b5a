"""What each stage asks of one component, and how its answer is checked before it goes into the block."""

from __future__ import annotations

from itertools import pairwise
from time import monotonic_ns
from typing import TYPE_CHECKING

import numpy as np

from mixline.kernels.checks import fits, is_choice, misfit
from mixline.kernels.slate import best_positions, drop
from mixline.node.block import DROPPED, LIVE, CandidateBlock, Candidates
from mixline.node.call import Call
from mixline.node.components import QueryHydrator, Scorer, Selector, SideEffect, Source
from mixline.node.components.base import Best
from mixline.node.config import Surface
from mixline.node.errors import InternalError, RequestTimeout
from mixline.node.page import DEADLINE, Coverage, sources_asked, unanswered

if TYPE_CHECKING:
    from mixline.node.pipeline import Step


class ComponentMisbehaved(Exception):
    """A component returned something of the wrong length or type."""


def living(block: CandidateBlock, groups: int) -> list[np.ndarray]:
    """Positions that no filter dropped, by group."""
    live = block.live
    if groups == 1:
        return [live]
    edges = np.searchsorted(block.group[live], np.arange(groups + 1)).tolist()
    return [live[start:stop] for start, stop in pairwise(edges)]


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


def check_coverage(surface: Surface, entries: list[Coverage]) -> None:
    """Refuse to go on where fewer sources answered than the surface asks for: a page of the rest would mislead."""
    asked, lost = sources_asked(entries), unanswered(entries)
    answered = len(asked) - len(lost)
    if not asked or answered >= surface.min_coverage * len(asked):
        return
    named = ", ".join(f"{entry.name!r} ({entry.why})" for entry in lost)
    message = (
        f"surface {surface.name!r}: {answered} of {len(asked)} sources answered, less than min_coverage = "
        f"{surface.min_coverage:g}; without {named}"
    )
    if all(entry.why.startswith(DEADLINE) for entry in lost):
        raise RequestTimeout(f"{message}; give it more time (deadline_ms)")
    raise InternalError(message)


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
    block = call.block
    began_ns, asked = monotonic_ns() if call.measures else 0, len(block)
    if step.sifted.partial and len(positions := block.live) < asked:
        asked, dropped = len(positions), np.zeros(asked, dtype=bool)
        dropped[positions] = call.of_part(positions, drops, step)
    else:
        dropped = drops(call, step)
    entry.taken, entry.left = drop(block.fate, dropped, LIVE, DROPPED + step.at)
    if call.measures and step.commutes:
        step.sifted.note(monotonic_ns() - began_ns, asked, entry.left)


def drops(call: Call, step: Step) -> np.ndarray:
    """Which of the candidates (bool) in the call's block a filter drops."""
    found = step.component.drops(call)
    check_length(call.block, found, "drops")
    return np.ascontiguousarray(found, dtype=bool)


def score(call: Call, step: Step, entry: Coverage) -> None:
    """Keep the scorer's column under its name; where it scores the best alone it sees a block of these."""
    scorer: Scorer = step.component
    block = call.block
    if scorer.best is None:
        block.columns[step.name] = scored(call, step)
        return
    positions = best_of(call, scorer.best)
    scores = np.full(len(block), np.nan, dtype=np.float32)
    scores[positions] = call.of_part(positions, scored, step)
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
