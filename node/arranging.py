"""In which order the components of one stage run, as far as what they read and write leaves it open.

Filters that commute are asked by what they cost and drop (:mod:`mixline.node.filter_order`). Components that wait begin
as soon as what they read is there, run beside one another and beside all that does not read what they write, and are
waited for last. A component whose columns nobody reads does not run at all. The coverage has all of them in the order
of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mixline.node.components.base import Component, depends
from mixline.node.components.side_effects.journal_side_effect import JournalSideEffect
from mixline.node.filter_order import FilterOrder
from mixline.node.guarding import Pending, begin, guard, settle

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.node.pipeline import Step

BEGIN, RUN, SETTLE = "begin", "run", "settle"


class Turn(NamedTuple):
    """What is done next, with the components at these places of their stage."""

    what: str
    places: tuple[int, ...]


class Stage:
    """The components of a stage and their turns; ``run`` is what the stage asks of each. ``unread``: why some need not
    run."""

    def __init__(
        self, steps: Sequence[Step], run: Callable[..., None], unread: Mapping[Step, str], places: list[int]
    ) -> None:
        self.steps, self.run, self.unread = steps, run, unread
        self.order = FilterOrder(steps, places)  # only filters change theirs
        self.moves = self.order.moves
        self.turns = arranged(steps, self.order.places)
        self.plain = not any(step.waits or step in unread for step in steps)

    def choose(self) -> None:
        """Put filters that commute into the order that what they took speaks for."""
        self.order.choose()
        self.turns = arranged(self.steps, self.order.places)

    def execute(self, call: Call) -> Generator[None, None, None]:
        """Run all of them; their entries are in the coverage in the order of the file."""
        entries = [step.entry() for step in self.steps]
        call.coverage += entries
        rows, run = len(call.block), self.run
        if self.moves and self.order.due():
            self.choose()
        for entry in entries:
            entry.taken = rows  # a filter counts its own
        if not self.plain and self.unread and not (call.ask.explain or call.ask.why):  # those look at all columns
            for step, entry in zip(self.steps, entries, strict=True):
                if why := self.unread.get(step, ""):
                    entry.state, entry.why = "disabled", why
        if self.plain:
            steps = self.steps
            for at in self.order.places:
                step = steps[at]
                call.ahead_ns -= step.cost.need_ns
                guard(call, step, entries[at], run)
                yield
            return
        begun: dict[int, Pending | None] = {}
        for what, places in self.turns:
            if what == BEGIN:
                for at in places:  # they run at the same time: none keeps time for another
                    call.ahead_ns -= self.steps[at].cost.need_ns
                wanted = [at for at in places if entries[at].state != "disabled"]
                begun.update((at, begin(call, self.steps[at], entries[at], run)) for at in wanted)
                continue
            step, entry = self.steps[places[0]], entries[places[0]]
            if entry.state == "disabled" and not step.why:
                continue
            if what == RUN:
                call.ahead_ns -= step.cost.need_ns
                guard(call, step, entry, run)
            elif (pending := begun[places[0]]) is not None:
                settle(call, pending)
            yield


def arranged(steps: Sequence[Step], order: Sequence[int]) -> list[Turn]:
    """The turns of one stage, in ``order`` where nothing forbids it. Filters that wait begin behind those that do not,
    which leave them less to look at."""
    waiting = [at for at in order if waits(steps[at])]
    if not waiting:
        return [Turn(RUN, (at,)) for at in order]
    inline = [at for at in order if not waits(steps[at])]
    components = [step.component for step in steps]
    before = {
        at: {one for one in order[:nth] if depends(components[at], components[one])} for nth, at in enumerate(order)
    }
    for at in waiting:
        if steps[at].stage == "filter":
            before[at] |= set(inline)
    turns: list[Turn] = []
    done: set[int] = set()
    begun: list[int] = []
    while inline or waiting or begun:
        ready = [at for at in waiting if before[at] <= done]
        if ready:
            turns.append(Turn(BEGIN, tuple(ready)))
            waiting = [at for at in waiting if at not in ready]
            begun += ready
        at = next((at for at in inline if before[at] <= done), -1)
        if at >= 0:
            inline.remove(at)
        else:
            at = begun.pop(0)
        turns.append(Turn(SETTLE if waits(steps[at]) else RUN, (at,)))
        done.add(at)
    return turns


def waits(step: Step) -> bool:
    """Whether it runs in a thread; what is off waits for nothing."""
    return step.waits and not step.why


def unread(steps: Sequence[Step], final: str) -> dict[Step, str]:
    """Hydrators and scorers whose columns nobody behind them reads, and in words which columns these are."""
    found: dict[Step, str] = {}
    read = {final}
    for step in reversed(steps):
        component = step.component
        if step.why:
            continue
        if step.stage in ("hydrator", "scorer") and step.writes and not read & set(step.writes):
            found[step] = f"nobody reads {', '.join(repr(name) for name in sorted(step.writes))}"
            continue
        if reads_anything(component):
            break  # whatever stands before it may be read
        read |= component.needs()
    return found


def reads_anything(component: Component) -> bool:
    """Whether it may read columns that it does not name."""
    if isinstance(component, JournalSideEffect):
        return component.columns is None
    plain: Any = type(component)
    return "." in component.kind and plain.reads is Component.reads
