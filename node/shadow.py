"""Shadows: some requests are answered a second time under another configuration, once the first answer is out.

A worker does so while nothing is asked of it. When a request comes the shadow is dropped between two components (and a
scan between two slices), so what is served waits for a part of a millisecond at most; drops are counted. What a shadow
answers goes into the journal and nowhere else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import TYPE_CHECKING

from mixline.ipc.wire import Status
from mixline.kernels.accumulate import Scratch
from mixline.node.call import Call
from mixline.node.components.side_effects.journal_side_effect import JournalSideEffect
from mixline.node.draws import WHOLE, draw
from mixline.node.errors import NodeError
from mixline.node.scans import make_passes
from mixline.node.settings import NO_ARMS, Settings, Variants

if TYPE_CHECKING:
    from mixline.node.config import NodeConfig
    from mixline.storage.epoch import Epoch

WAITING_MAX = 16
JOURNAL = JournalSideEffect(kind="journal", name="journal")


class Shadow:
    """One worker's. ``count(name)`` counts one of the worker's counters up."""

    def __init__(self, config: NodeConfig, share: float, epoch: Epoch, count: Callable[[str], None]) -> None:
        self.variants: Mapping[str, Variants] = {
            name: Variants(surface, epoch) for name, surface in config.surfaces.items()
        }
        self.share, self.count = share, count
        self.waiting: deque[Call] = deque()
        self._scratch = Scratch()

    def wants(self, surface: str, request_id: bytes) -> bool:
        """Whether a request has a shadow; the same for a request wherever it runs."""
        return surface in self.variants and draw("shadow", request_id) < self.share * WHOLE

    def take(self, call: Call) -> None:
        """Keep an answered request for a quiet moment."""
        if len(self.waiting) == WAITING_MAX:
            self.waiting.popleft()
            self.count("shadows_dropped")
        self.waiting.append(call)

    def run(self, waits: Callable[[], bool]) -> None:
        """Answer what was kept, until a request comes."""
        while self.waiting and not waits():
            call = self.waiting.popleft()
            try:
                done = self._answer(call, waits)
            except NodeError:
                done = True  # it refuses what the first configuration answered, which is an outcome without a record
            self.count("shadows" if done else "shadows_dropped")

    def _answer(self, first: Call, waits: Callable[[], bool]) -> bool:
        replied = first.replied
        assert replied is not None
        header = replied.header
        variants = self.variants[header.surface]
        arms = variants.arms_of(first.asked, header.tenant)
        settings = variants.settle(first.asked, header.tenant, 1.0, arms[0] if len(arms) == 1 else NO_ARMS)
        call = shadowed(first, settings, self._scratch, waits)
        began_ns = monotonic_ns()
        pipeline = variants.understood(call, settings.pipeline)
        for scans in pipeline.execute(call, replied.limit):
            for _ in make_passes(scans or ()):
                if waits():
                    return False
            if waits():
                return False
        whole = all(entry.state in ("ok", "disabled") for entry in call.coverage)
        call.replied = replied._replace(
            status=Status.OK if whole else Status.DEGRADED,
            execute_us=(monotonic_ns() - began_ns) // 1000,
            pipeline=pipeline,
            shadow=True,
        )
        effects = [step.component for step in pipeline.side_effects]
        effect = next((one for one in effects if isinstance(one, JournalSideEffect)), JOURNAL)
        effect.after(call)
        return True


def shadowed(first: Call, settings: Settings, scratch: Scratch, pulse: Callable[[], bool]) -> Call:
    """The same request on the same state, in the same second, under other settings."""
    deadline_ns = monotonic_ns() + settings.pipeline.deadline_ns
    call = Call(first.asked, first.epoch, scratch, deadline_ns, pulse, first.view, first.request_id)
    call.now, call.params, call.assignments = first.now, settings.params, settings.assignments
    call.shown, call.shown_rows = first.shown, first.shown_rows
    return call
