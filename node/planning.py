"""What a surface will do on a store, told before anybody asks; and what each component did for one request."""

from __future__ import annotations

from typing import NamedTuple

from mixline.node.arranging import waits
from mixline.node.block import CandidateBlock
from mixline.node.engine import Asked, Engine
from mixline.node.page import Coverage
from mixline.node.pipeline import INSIDE, Pipeline, Step
from mixline.node.scans import make_passes

CANDIDATE_BYTES = 8  # a row and its score


class Planned(NamedTuple):
    """One component as it will run. ``reads`` and ``writes``: columns; ``how``: the way that it takes, and what it
    leaves to the sources; ``off``: why it does not run, or nothing."""

    stage: str
    name: str
    kind: str
    reads: list[str]
    writes: list[str]
    how: str
    off: str
    on_error: str
    share: float


class Measured(NamedTuple):
    """What a component did: candidates that it had, kept and dropped, and the bytes of the columns that it added."""

    coverage: Coverage
    rows: int
    kept: int
    dropped: int
    bytes: int


def plan(pipeline: Pipeline) -> list[Planned]:
    """The components of a surface in the order in which they run, as far as that is settled before a request comes."""
    return [planned(step, pipeline.unread.get(step, "")) for step in pipeline.as_asked()]


def planned(step: Step, unread: str) -> Planned:
    component = step.component
    way = "" if step.why else component.way(step.bound)
    inside = INSIDE if step.how == INSIDE else ""
    apart = "in a thread, beside others" if waits(step) else ""
    commutes = step.sifted.told() if step.commutes and not step.late else ""
    return Planned(
        stage=step.stage,
        name=step.name,
        kind=step.kind,
        reads=sorted(component.needs()),
        writes=sorted(component.writes()),
        how="; ".join(filter(None, (way, inside, apart, commutes))),
        off=step.why or unread,
        on_error=component.on_error,
        share=component.share,
    )


def analyze(engine: Engine, asked: Asked) -> list[Measured]:
    """Run one request, alone, and look at the block after each component. Raises what the request would raise."""
    running = engine.begin(*asked).parts[0]
    call = running.call
    found: dict[int, Measured] = {}
    held = 0
    for scans in running.steps:
        if scans:
            for _ in make_passes(scans):
                pass
            continue
        entry = call.entry
        if entry.stage == "source":
            continue
        held = held or merged_bytes(call.block, running.pipeline.source_names)
        size = block_bytes(call.block)
        found[id(entry)] = measured(entry, len(call.block), size - held)
        held = size
    return [found.get(id(entry)) or measured(entry, len(call.block), 0) for entry in call.coverage]


def measured(entry: Coverage, rows: int, size: int) -> Measured:
    """A filter says what it kept and dropped, a selector what it took and left; the others see all rows."""
    if entry.stage == "query_hydrator":
        return Measured(entry, 0, 0, 0, 0)
    if entry.stage == "source":
        return Measured(entry, entry.taken, entry.taken, 0, entry.taken * CANDIDATE_BYTES)
    if entry.stage in ("filter", "selector"):
        return Measured(entry, entry.taken + entry.left, entry.taken, entry.left, size)
    return Measured(entry, rows, rows, 0, size)


def block_bytes(block: CandidateBlock) -> int:
    """All columns of a block."""
    return own_bytes(block) + sum(column.nbytes for column in block.columns.values())


def merged_bytes(block: CandidateBlock, sources: list[str]) -> int:
    """Those that merging the sources made."""
    return own_bytes(block) + sum(block.columns[f"{name}.score"].nbytes for name in sources)


def own_bytes(block: CandidateBlock) -> int:
    return sum(one.nbytes for one in (block.group, block.row, block.key, block.sources, block.rank, block.fate))
