"""Requests for many users on a surface with experiments: users of the same arms are answered together.

Each part is a request of its own, with a pipeline made of its arms' values, on the one state and in the one second of
the whole; what they answer is put together in the order of the users. Where all users have the same arms, or there is
no experiment, the request has one part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixline.node.page import Answer, Coverage, StringIds, decode_ids, encode_ids

if TYPE_CHECKING:
    from mixline.node.engine import Running
    from mixline.node.scans import Scan

WORST = ("disabled", "ok", "degraded", "failed")
SUMMED = ("taken", "left", "us", "queries", "scanned", "certified", "wanted", "kept")
HIGHLIGHTS = "highlights"  # what a reply tells of each item


class Parts:
    """The parts of a request; ``places`` of each one's users in the request."""

    def __init__(self, parts: list[Running], places: list[list[int]]) -> None:
        self.parts, self.places = parts, places
        self.asked, self.limit = parts[0].asked, parts[0].limit
        self.started_ns, self.parsed_ns = parts[0].started_ns, parts[-1].parsed_ns
        self.spent_ns = 0
        self._at = 0

    def step(self) -> Sequence[Scan] | None:
        """One component further in the first that is not at its end; no scans: all are."""
        scans = self.parts[self._at].step()
        if scans is None or scans or self._at == len(self.parts) - 1:
            return scans
        self._at += 1
        return None


def merged(answers: Sequence[Answer], places: Sequence[Sequence[int]]) -> Answer:
    """One answer in the order of the request's users."""
    where = sorted((user, part, group) for part, some in enumerate(places) for group, user in enumerate(some))
    edges = [np.frombuffer(answer.groups, dtype="<u4").tolist() for answer in answers]
    spans = [(part, edges[part][group], edges[part][group + 1]) for _, part, group in where]

    def joined(columns: Sequence[Sequence[Any]]) -> list[Any]:
        return [one for part, start, stop in spans for one in columns[part][start:stop]]

    def raw(columns: Sequence[bytes], size: int) -> bytes:
        return b"".join(columns[part][start * size : stop * size] for part, start, stop in spans)

    ids: bytes | StringIds
    if isinstance(answers[0].ids, bytes):
        ids = raw([answer.ids for answer in answers if isinstance(answer.ids, bytes)], 8)
    else:
        ids = encode_ids(joined([[*decode_ids(answer.ids)] for answer in answers]))
    told = dict(answers[0].told)
    if HIGHLIGHTS in told:
        told[HIGHLIGHTS] = joined([answer.told[HIGHLIGHTS] for answer in answers])
    return Answer(
        ids=ids,
        scores=raw([answer.scores for answer in answers], 4),
        sources=raw([answer.sources for answer in answers], 8),
        source_names=answers[0].source_names,
        coverage=[together(entries) for entries in zip(*(answer.coverage for answer in answers), strict=True)],
        timing={},
        groups=np.cumsum([0, *(stop - start for _, start, stop in spans)]).astype("<u4").tobytes(),
        fields={name: joined([answer.fields[name] for answer in answers]) for name in answers[0].fields},
        explain=every([answer.explain for answer in answers], joined),
        why=why_of(answers, places, where),
        user_assignments=[arms_in(answers[part], group) for _, part, group in where],
        quality=min(answer.quality for answer in answers),
        told=told,
    )


def arms_in(answer: Answer, group: int) -> dict[str, str]:
    """The arms of one of its users."""
    return answer.user_assignments[group] if answer.user_assignments else {}


def every(columns: Sequence[list[Any] | None], joined: Callable[..., list[Any]]) -> list[Any] | None:
    """What all of them have, or None."""
    return None if columns[0] is None else joined(columns)


def why_of(
    answers: Sequence[Answer], places: Sequence[Sequence[int]], where: Sequence[tuple[int, int, int]]
) -> list[dict[str, Any]] | None:
    """What became of the items asked about, for one user after the other."""
    found = []
    for user, part, group in where:
        told = answers[part].why
        if told is None:
            return None
        many = len(told) // len(places[part])
        found += [{**one, "group": user} for one in told[group * many : (group + 1) * many]]
    return found


def together(entries: Sequence[Coverage]) -> Coverage:
    """What one component did in all parts."""
    first = entries[0]
    states = [entry.state for entry in entries]
    whole = Coverage(first.name, first.stage, first.kind, max(states, key=WORST.index))
    whole.why = "; ".join(dict.fromkeys(entry.why for entry in entries if entry.why and entry.state == whole.state))
    whole.how = "; ".join(dict.fromkeys(entry.how for entry in entries if entry.how))
    for name in SUMMED:
        setattr(whole, name, sum(getattr(entry, name) for entry in entries))
    return whole
