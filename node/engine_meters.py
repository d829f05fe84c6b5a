"""What an engine counts: per surface its time and outcome; per component time, state, and what it took and left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixline.ipc.meters import Meters
from mixline.ipc.wire import Status
from mixline.node.directory import COMPONENT, SEARCH_COUNTS, STATES, SURFACE, SURFACE_COUNTS, Row, worker_directory
from mixline.node.page import Coverage
from mixline.node.pipeline import Pipeline

OUTCOMES = {name: at for at, name in enumerate(SURFACE_COUNTS)}


class EngineMeters:
    """Rows for every surface and its components, in the order in which coverage lists them."""

    def __init__(self, meters: Meters, pipelines: Mapping[str, Pipeline]) -> None:
        self.meters = meters
        self.first: dict[str, int] = {}
        self.lengths: dict[str, int] = {}  # components of a surface
        rows: list[Row] = []
        for name, pipeline in pipelines.items():
            components = [
                Row(COMPONENT, name, stage=each.stage, name=each.name, kind=each.kind) for each in pipeline.in_order()
            ]
            if len(rows) + 1 + len(components) <= meters.rows:
                self.first[name], self.lengths[name] = len(rows), len(components)
                rows += [Row(SURFACE, name, pipeline.surface.deadline_ms, shares=pipeline.shares), *components]
        if not meters.publish(worker_directory(rows)):
            self.first.clear()

    def answered(self, surface: str, status: Status, us: int, coverage: Sequence[Coverage]) -> None:
        """Count an answer and what each component did for it."""
        row = self.first.get(surface, -1)
        if row < 0:
            return
        note = self.meters.note
        note(row, OUTCOMES[status], us)
        for entry in coverage:
            row += 1
            note(row, STATES[entry.state], entry.us, entry.taken, entry.left)
            if entry.queries:
                for name in SEARCH_COUNTS:
                    self.meters.count(row, STATES[name], getattr(entry, name))

    def followed(self, surface: str, entries: Sequence[Coverage]) -> None:
        """Count what side effects did, whose rows are a surface's last."""
        row = self.first.get(surface, -1)
        if row < 0:
            return
        row += self.lengths[surface] - len(entries)
        for entry in entries:
            row += 1
            self.meters.note(row, STATES[entry.state], entry.us, entry.taken, entry.left)

    def count(self, surface: str, outcome: str) -> None:
        """Count a request that ended without an answer (``failed``), or took longer than it may (``slow``)."""
        row = self.first.get(surface, -1)
        if row >= 0:
            self.meters.count(row, OUTCOMES[outcome])
