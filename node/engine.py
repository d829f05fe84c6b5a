"""The engine: a store's active epoch, the surfaces bound to it, and one way to answer an ask.

A worker holds one and so does an in-process Node; both hand it bytes and get bytes, so both give the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import NamedTuple

import msgspec

from mixline.ipc.counters import Counters
from mixline.ipc.meters import Meters
from mixline.ipc.wire import RequestHeader, Status
from mixline.kernels.accumulate import Scratch
from mixline.node.answering import answer_of
from mixline.node.ask_checks import check_ask, check_users
from mixline.node.batches import Parts, merged
from mixline.node.call import Call
from mixline.node.config import NodeConfig
from mixline.node.cursors import Cursors
from mixline.node.engine_meters import EngineMeters
from mixline.node.errors import BadRequest, ConfigError, NodeError, NotReady
from mixline.node.misfits import misfits
from mixline.node.names import nearest
from mixline.node.outlets import Failures, Outlets, Replied
from mixline.node.own_writes import Applies
from mixline.node.page import Answer, Coverage, encode_answer
from mixline.node.pipeline import Pipeline
from mixline.node.request import Ask, decode_ask, encode_ask
from mixline.node.scans import Scan, make_passes, run_alone
from mixline.node.settings import Arms, Variants
from mixline.node.shadow import Shadow
from mixline.node.threads import THREADS
from mixline.storage.carried import carries
from mixline.storage.epoch import Epoch
from mixline.storage.errors import StoreDamaged
from mixline.storage.live_log import last_sequence
from mixline.storage.live_paths import overlay_folder
from mixline.storage.live_view import LiveReader, LiveView
from mixline.storage.store import Store

WHOLE = ("ok", "disabled")
WARM_UP_NS = 1_000_000_000
AWAIT_S = 0.005
NOT_YET_US = 10_000
ABREAST = 8  # requests: the first of many is not kept until the last has its page
END: Sequence[Scan] = ()


class Trace(NamedTuple):
    """How the latest answer was made; ``slow_us`` is what its surface promises."""

    slow_us: int
    timing: dict[str, int]
    coverage: list[Coverage]


class Asked(NamedTuple):
    """A request as it comes in."""

    header: RequestHeader
    body: bytes | memoryview
    deadline_ns: int
    pulse: Callable[[], bool]


class Running:
    """A request whose pipeline is on its way. ``spent_ns``: by its components, and the passes that it waited for."""

    __slots__ = ("asked", "call", "limit", "parsed_ns", "pipeline", "spent_ns", "started_ns", "steps")

    def __init__(self, pipeline: Pipeline, call: Call, limit: int, started_ns: int, asked: Asked | None = None) -> None:
        self.pipeline = pipeline
        self.call = call
        self.limit = limit
        self.asked = asked
        self.started_ns = started_ns
        self.parsed_ns = monotonic_ns()
        self.spent_ns = 0
        self.steps = pipeline.execute(call, limit)

    @property
    def parts(self) -> Sequence[Running]:
        """As of a request that has several."""
        return (self,)

    def step(self) -> Sequence[Scan] | None:
        """One component further: None, or the scans that it waits for; no scans: it is at its end. Where components
        wait in threads, of which there are only so many, it goes on as far as it can."""
        scans = next(self.steps, END)
        while scans is None and self.pipeline.waits:
            scans = next(self.steps, END)
        return scans


class Engine:
    """Answers asks on one epoch under one configuration; neither changes while it lives. For one thread."""

    def __init__(self, epoch: Epoch, config: NodeConfig) -> None:
        configs = [config, *([config.shadow.config] if config.shadow is not None else [])]
        problems = [
            problem for each in configs for surface in each.surfaces.values() for problem in misfits(surface, epoch)
        ]
        if problems:
            raise ConfigError(problems)
        self.epoch = epoch
        self.epoch_number = epoch.number
        self.live_seq = epoch.live_seq  # of the latest answer
        self.variants = {name: Variants(surface, epoch) for name, surface in config.surfaces.items()}
        self.pipelines = {name: variants.plain for name, variants in self.variants.items()}
        self.quality: Callable[[], float] = whole
        self.shadow: Shadow | None = None
        self.counters: Counters | None = None
        self.cursors = Cursors(epoch.path.parent.parent)
        self.live = LiveReader(epoch, overlay_folder(epoch.path.parent.parent, epoch.number))
        self.scratch = Scratch()
        self.config = config
        self.config_generation = 0
        self.meters: EngineMeters | None = None
        self.trace: Trace | None = None
        self.outlets: Outlets | None = None
        self.effect: list[Call] | None = (
            None  # of the latest answer; whoever sends that takes it, and runs it afterwards
        )
        self.failures = Failures()

    def meter(self, meters: Meters) -> None:
        """Count in a segment of this process from now on."""
        self.meters = EngineMeters(meters, self.pipelines)

    def open_outlets(self, name: str, generation: int = 0, open_writer: Callable[[], Applies] | None = None) -> None:
        """Let side effects leave traces from now on, as ``name``, and replies name a configuration generation.

        ``open_writer`` opens a way to the writer; without one nothing is reserved or recorded.
        """
        self.config_generation = generation
        self.outlets = Outlets(self.epoch.path.parent.parent, self.config, name, open_writer)
        if (told := self.config.shadow) is not None:
            self.shadow = Shadow(told.config, told.share, self.epoch, self._count)

    def count_in(self, counters: Counters) -> None:
        """Count in a segment of this process from now on."""
        self.counters = counters
        THREADS.tell = counters.add

    def _count(self, name: str) -> None:
        if self.counters is not None:
            self.counters.add(name)

    def idle(self, waits: Callable[[], bool]) -> int:
        """Use a moment in which nothing is asked; milliseconds until the next is wanted, 0: none is."""
        if self.shadow is None:
            return 0
        self.shadow.run(waits)
        return 1 if self.shadow.waiting else 0

    def follow_quality(self, quality: Callable[[], float]) -> None:
        """Let widths shrink by what this says, 0 .. 1."""
        self.quality = quality

    def close_outlets(self) -> None:
        """No more traces."""
        if self.outlets is not None:
            self.outlets.close()
            self.outlets = None

    @classmethod
    def open(cls, store: str | Path, config: NodeConfig) -> Engine:
        """Open the active epoch of ``store``; :class:`ConfigError` names every surface that does not fit it."""
        epoch = Store(store).open(grows=True)
        try:
            engine = cls(epoch, config)
            engine.warm_up()
        except BaseException:
            epoch.close()
            raise
        return engine

    def await_live(self, wait_s: float) -> None:
        """Wait until everything that the store's log holds is visible here."""
        last = last_sequence(self.epoch.path.parent.parent)
        until = monotonic() + wait_s
        while self.epoch.live_seq < last or carries(self.epoch.path):
            view = self.live.view()
            if view is not None and view.live_seq >= last:
                return
            if monotonic() >= until:
                raise StoreDamaged(
                    f"{self.live.folder}: {0 if view is None else view.live_seq} of {last} logged operations are in "
                    f"after {wait_s:g} s; look for errors of the writer in the node's log"
                )
            sleep(AWAIT_S)

    def warm_up(self) -> None:
        """Run every surface once for nobody: what Python and NumPy load on first use costs no request its deadline."""
        for variants in self.variants.values():
            call = Call(Ask(), self.epoch, self.scratch, monotonic_ns() + WARM_UP_NS, lambda: False)
            try:
                pipeline = variants.understood(call, variants.plain)
                run_alone(pipeline.execute(call, pipeline.surface.limit))
                self._answer(call, pipeline, pipeline.surface.limit)
            except NodeError:
                continue  # a surface that needs an item or a vector says so; that much is warm
            finally:
                variants.plain.forget_costs()

    def close(self) -> None:
        """Let go of the epoch."""
        self.close_outlets()
        self.epoch.close()

    def answer(
        self, header: RequestHeader, body: bytes | memoryview, deadline_ns: int, pulse: Callable[[], bool]
    ) -> tuple[Status, bytes]:
        """Answer one request of kind ASK; raises a :class:`~mixline.node.errors.NodeError` instead of an answer."""
        running = self.begin(header, body, deadline_ns, pulse)
        for part in running.parts:
            run_alone(part.steps)
        running.spent_ns = monotonic_ns() - running.parsed_ns
        return self._finish(running)

    def answer_many(
        self, asks: Sequence[Asked], turn: Callable[[int | None], None]
    ) -> Iterator[tuple[int, tuple[Status, bytes] | Exception]]:
        """Answer several requests in one go, those that want the same scan with one pass over its bytes.

        They go from component to component side by side, a few at a time: what one has just used, code and data, the
        next finds in the caches. Yields each one's place with its answer, or the exception that ends it, as soon as
        there is one. ``turn`` is told whose work is done next, None for a pass that all who wait have a share in.
        """
        waiting: dict[int, Running | Parts] = {}
        open_scans: dict[Scan, int] = {}
        for some in abreast(range(len(asks))):
            for at in some:
                turn(at)
                try:
                    waiting[at] = self.begin(*asks[at])
                except Exception as error:  # noqa: BLE001  # it is this request's outcome
                    yield at, error
            yield from self._advance([at for at in some if at in waiting], waiting, open_scans, turn)
        while open_scans:
            turn(None)
            began_ns = monotonic_ns()
            for done in make_passes([*open_scans]):
                owners = dict.fromkeys(open_scans.pop(scan) for scan in done)
                free = [at for at in owners if at not in open_scans.values()]
                passed_ns = monotonic_ns() - began_ns
                for at in free:
                    waiting[at].spent_ns += passed_ns
                for some in abreast(free):
                    yield from self._advance(some, waiting, open_scans, turn)
                turn(None)

    def _advance(
        self,
        going: Sequence[int],
        waiting: dict[int, Running | Parts],
        open_scans: dict[Scan, int],
        turn: Callable[[int | None], None],
    ) -> Iterator[tuple[int, tuple[Status, bytes] | Exception]]:
        """Take some requests to their next wait, or their end."""
        while going:
            free = []
            for at in going:
                turn(at)
                try:
                    began_ns = monotonic_ns()
                    scans = waiting[at].step()
                    waiting[at].spent_ns += monotonic_ns() - began_ns
                    if scans is None:
                        free.append(at)
                        continue
                    if scans:
                        open_scans.update(dict.fromkeys(scans, at))
                        continue
                    yield at, self._finish(waiting[at])
                except Exception as error:  # noqa: BLE001  # as above
                    yield at, error
                del waiting[at]
            going = free

    def begin(
        self, header: RequestHeader, body: bytes | memoryview, deadline_ns: int, pulse: Callable[[], bool]
    ) -> Running | Parts:
        """Check one request and set its pipeline up, or those of its parts."""
        started_ns = monotonic_ns()
        variants = self.variants.get(header.surface)
        if variants is None:
            hint = nearest(header.surface, self.pipelines)
            raise BadRequest(f"unknown surface {header.surface!r}{hint}; there are {', '.join(self.pipelines)}")
        ask = decode_ask(body)
        limit = check_ask(ask, variants.surface, self.epoch.items)
        view, arms = self.live.view(), variants.arms_of(ask, header.tenant)
        if len(arms) == 1:
            return self._set_up(Asked(header, body, deadline_ns, pulse), ask, arms[0], limit, started_ns, view)
        parts = []
        for each in arms:
            part = msgspec.structs.replace(ask, users=[ask.users[at] for at in each.places])  # type: ignore[index]
            asked = Asked(header, encode_ask(part), deadline_ns, pulse)
            parts.append(self._set_up(asked, part, each, limit, started_ns, view))
            parts[-1].call.now = parts[0].call.now
        return Parts(parts, [each.places for each in arms])

    def _set_up(
        self, asked: Asked, ask: Ask, arms: Arms, limit: int, started_ns: int, view: LiveView | None
    ) -> Running:
        """One whose users are all in the same arms."""
        header, _, deadline_ns, pulse = asked
        variants = self.variants[header.surface]
        surface = variants.surface
        settings = variants.settle(ask, header.tenant, self.quality(), arms)
        pipeline = settings.pipeline
        if header.budget_us == 0:
            deadline_ns = min(deadline_ns, started_ns + pipeline.deadline_ns)
        call = Call(ask, self.epoch, self.scratch, deadline_ns, pulse, view, header.request_id)
        call.writes = None if self.outlets is None else self.outlets.writes
        call.params, call.assignments, call.quality = settings.params, settings.assignments, settings.quality
        if ask.cursor:
            call.show_no_more(self.cursors.read(surface.name, ask))
        here = self.epoch.live_seq if call.view is None else call.view.live_seq
        if ask.live_seq > here:
            raise NotReady(f"live_seq {ask.live_seq} is asked for, and this node has come to {here}", NOT_YET_US)
        if surface.unknown_user == "error":
            check_users(call, surface)
        pipeline = variants.understood(call, pipeline)
        return Running(pipeline, call, limit, started_ns, asked)

    def _finish(self, running: Running | Parts) -> tuple[Status, bytes]:
        """The reply of a pipeline that ran to its end, counted; then its side effects."""
        executed_ns = monotonic_ns()
        first = running.parts[0]
        answer = self._answer(first.call, first.pipeline, first.limit)
        if isinstance(running, Parts):
            rest = [self._answer(one.call, one.pipeline, one.limit) for one in running.parts[1:]]
            answer = merged([answer, *rest], running.places)
        pipeline, call, coverage = first.pipeline, first.call, answer.coverage
        answer.timing = {
            "parse_us": (running.parsed_ns - running.started_ns) // 1000,
            "execute_us": running.spent_ns // 1000,
            "encode_us": (monotonic_ns() - executed_ns) // 1000,
        }
        encoded = encode_answer(answer)
        self.live_seq = self.epoch.live_seq if call.view is None else call.view.live_seq
        status = Status.OK if answer.quality == 1.0 else Status.DEGRADED
        for entry in coverage:
            if entry.state not in WHOLE:
                status = Status.DEGRADED
        self.trace = Trace(pipeline.deadline_ns // 1000, answer.timing, coverage)
        if self.meters is not None:
            self.meters.answered(pipeline.surface.name, status, sum(answer.timing.values()), coverage)
        shadows = self.shadow is not None and self.shadow.wants(pipeline.surface.name, call.request_id)
        if (pipeline.side_effects or shadows) and running.asked is not None:
            for one in running.parts:
                assert one.asked is not None
                one.call.replied = Replied(
                    header=one.asked.header,
                    body=bytes(one.asked.body),
                    status=status,
                    limit=one.limit,
                    execute_us=answer.timing["execute_us"],
                    config_generation=self.config_generation,
                    pipeline=one.pipeline,
                    outlets=self.outlets,
                )
            self.effect = [one.call for one in running.parts]
        return status, encoded

    def _answer(self, call: Call, pipeline: Pipeline, limit: int) -> Answer:
        return answer_of(call, pipeline, self.cursors.behind(call, pipeline.surface, limit))

    def run_effect(self, effect: list[Call]) -> None:
        """What follows a reply that was sent."""
        for call in effect:
            self._follow(call)

    def _follow(self, call: Call) -> None:
        assert call.replied is not None
        pipeline = call.replied.pipeline
        entries = pipeline.after(call)
        if self.meters is not None:
            self.meters.followed(pipeline.surface.name, entries)
        for entry in entries:
            if entry.state == "failed":
                self.failures.say(pipeline.surface.name, entry)
        if self.shadow is not None and self.shadow.wants(pipeline.surface.name, call.request_id):
            self.shadow.take(call)


def abreast(places: Sequence[int]) -> Iterator[Sequence[int]]:
    """As many at a time as go side by side."""
    return (places[first : first + ABREAST] for first in range(0, len(places), ABREAST))


def whole() -> float:
    """The quality factor where nothing presses."""
    return 1.0
