"""What was asked, what became of every candidate, and what was known of it: written down for training and replay."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mixline.node.block import DROPPED, RESERVE, SERVED, SHOWN
from mixline.node.components.base import SideEffect
from mixline.node.draws import WHOLE, draw
from mixline.storage.journal_format import REQUEST, Facts, Schema

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.node.outlets import Replied


class JournalSideEffect(SideEffect, frozen=True, kw_only=True):
    """Writes the request, the fates, features and scores of its candidates, and what it was answered from.

    - `candidates`: of a request so many per user: those on the page, then the best of the others by the page's score.
    - `columns`: of the block; left out, every column that the request made or read.
    - `sample`: the share of requests, chosen by their id.

    Files lie where `[journal]` of NODE.toml says (docs/node.md), and are read with `mixline journal` and NumPy
    (docs/journal.md). A record is written once the reply was sent, for the attempt that was answered. What cannot be
    written is lost and counted: the runs that failed, in `mixline top` and the metrics.
    """

    candidates: int = 500
    columns: tuple[str, ...] | None = None
    sample: float = 1.0

    def wrong(self) -> Iterator[str]:
        yield from SideEffect.wrong(self)
        if self.candidates < 1:
            yield f"candidates = {self.candidates}: at least 1"
        if not 0 < self.sample <= 1:
            yield f"sample = {self.sample}: must lie above 0 and not above 1"

    def reads(self) -> set[str]:
        return set(self.columns or ())

    def after(self, call: Call) -> None:
        replied = call.replied
        if replied is None or replied.outlets is None:
            return
        if self.sample < 1 and draw(self.name, call.request_id) >= self.sample * WHOLE:
            return
        block, pipeline = call.block, replied.pipeline
        kept = self._kept(call)
        names = [*block.columns] if self.columns is None else self.columns
        values = {name: np.ascontiguousarray(call.column(name)[kept]) for name in names}
        schema = Schema(
            surface=pipeline.surface.name,
            sources=pipeline.source_names,
            fates=pipeline.filter_names,
            columns=[(name, values[name].dtype.str) for name in names],
            final=pipeline.final,
            id_kind=call.epoch.items.id_kind,
            config=replied.outlets.config_file,
            digest=pipeline.surface.digest,
        )
        columns = {
            "slate": np.searchsorted(kept, block.slate).astype("<i4"),
            "group": block.group[kept].astype("<u4"),
            "row": block.row[kept].astype("<u4"),
            "key": block.key[kept].astype("<u8"),
            "sources": block.sources[kept].astype("<u8"),
            "rank": block.rank[kept].astype("<u4"),
            "fate": block.fate[kept],
            **values,
        }
        ids = None if schema.id_kind == "u64" else call.epoch.items.strings.take(block.row[kept])
        fixed = fixed_part(call, replied, len(kept))
        facts = Facts(fates_of(block.fate, pipeline.filter_names), dict(call.params), call.assignments)
        replied.outlets.open_journal().append(schema, fixed, replied.body, facts, columns, ids)

    def _kept(self, call: Call) -> np.ndarray:
        """Positions of the candidates to write, ascending."""
        block, most = call.block, self.candidates * call.groups
        if len(block) <= most:
            return np.arange(len(block))
        assert call.replied is not None
        final = call.replied.pipeline.final
        scores = call.numbers(final).astype(np.float64) if final else -block.rank.astype(np.float64)
        scores = np.where(np.isfinite(scores), scores, -np.inf)
        scores[block.fate >= DROPPED] = -np.inf
        scores[block.slate] = np.inf
        edges = block.edges(call.groups)
        found = []
        for start, stop in itertools.pairwise(edges):
            count = min(self.candidates, stop - start)
            some = np.argpartition(-scores[start:stop], count - 1)[:count] if count else np.zeros(0, dtype=np.int64)
            found.append(np.sort(some) + start)
        return np.concatenate(found)


def fixed_part(call: Call, replied: Replied, kept: int) -> np.ndarray:
    """A record of :data:`~mixline.storage.journal_format.REQUEST`."""
    header, block = replied.header, call.block
    fixed = np.zeros((), dtype=REQUEST)
    fixed["request_id"] = np.frombuffer(header.request_id, dtype=np.uint8)
    fixed["tenant"] = header.tenant.encode()
    fixed["epoch"] = call.epoch.number
    fixed["live_seq"] = call.epoch.live_seq if call.view is None else call.view.live_seq
    fixed["config_generation"] = replied.config_generation
    fixed["time"], fixed["execute_us"] = call.now, replied.execute_us
    fixed["groups"], fixed["candidates"], fixed["kept"] = call.groups, len(block), kept
    fixed["slate"], fixed["limit"], fixed["quality"] = len(block.slate), replied.limit, call.quality
    fixed["status"], fixed["priority"], fixed["shadow"] = replied.status.code, header.priority, replied.shadow
    return fixed


def fates_of(fate: np.ndarray, filters: list[str]) -> dict[str, int]:
    """How many candidates of the whole block ended how."""
    counts = np.bincount(fate, minlength=DROPPED).tolist()
    found = {"served": counts[SERVED], "reserve": counts[RESERVE]}
    if counts[SHOWN]:
        found["shown"] = counts[SHOWN]
    for at, count in enumerate(counts[DROPPED:]):
        if count:
            name = f"dropped:{filters[at]}"
            found[name] = found.get(name, 0) + count
    return found
