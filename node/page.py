"""The answer to an ask, as columns: the same object from a socket and from an in-process node.

On the wire ids are one ``bin`` of little-endian uint64, or offsets and UTF-8 bytes; scores one ``bin`` of float32.
Decoding makes views of them, no object per item.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np

from mixline.ipc.wire import ReplyHeader, Status
from mixline.node.errors import InternalError, error_of


class Coverage(msgspec.Struct, omit_defaults=True):
    """What one component did. ``state``: ok, degraded, failed or disabled; ``why`` when it is not ok.

    ``taken`` and ``left``: candidates out and in for a source or selector, kept and removed for a filter. ``how``: the
    way that it went, the same for the same request. Of a search of a space: ``queries``, how many of them ``scanned``
    int8 codes, of which ``certified`` are sure to be exact; these ``wanted`` so many rows and ``kept`` so many for a
    second look, which depends on who shared the pass.
    """

    name: str
    stage: str
    kind: str
    state: str = "ok"
    why: str = ""
    taken: int = 0
    left: int = 0
    us: int = 0
    how: str = ""
    queries: int = 0
    scanned: int = 0
    certified: int = 0
    wanted: int = 0
    kept: int = 0


DEADLINE = "deadline"  # what the reason begins with where time was short


def sources_asked(entries: list[Coverage]) -> list[Coverage]:
    """The sources that had something to search in this store."""
    return [entry for entry in entries if entry.stage == "source" and entry.state != "disabled"]


def unanswered(entries: list[Coverage]) -> list[Coverage]:
    """Those that failed, or that the deadline left without a candidate."""
    return [
        entry
        for entry in sources_asked(entries)
        if entry.state == "failed" or (entry.state == "degraded" and not entry.taken and entry.why.startswith(DEADLINE))
    ]


class StringIds(msgspec.Struct):
    """String ids: ``offsets`` (n + 1) little-endian uint32 into ``bytes``."""

    offsets: bytes
    utf8: bytes = msgspec.field(name="bytes")


class Answer(msgspec.Struct, omit_defaults=True):
    """The body of an OK or DEGRADED reply."""

    ids: bytes | StringIds
    scores: bytes
    sources: bytes
    source_names: list[str]
    coverage: list[Coverage]
    timing: dict[str, int]
    groups: bytes = b""
    fields: dict[str, list[Any]] = {}
    explain: list[dict[str, Any]] | None = None
    why: list[dict[str, Any]] | None = None
    assignments: dict[str, str] = {}
    user_assignments: list[dict[str, str]] = []
    quality: float = 1.0
    cursor: str | None = None
    told: dict[str, Any] = {}


class Failure(msgspec.Struct):
    """The body of every other reply."""

    error: str


_answers = msgspec.msgpack.Decoder(Answer)
_failures = msgspec.msgpack.Decoder(Failure)
encode_answer = msgspec.msgpack.Encoder().encode
decode_answer = _answers.decode


class Page:
    """One page of results, best first.

    ``ids`` uint64 array or list of str; ``scores`` float32; ``fields`` column by name; ``status`` OK or DEGRADED;
    ``coverage`` one entry per component; ``epoch``, ``live_seq`` and ``config_generation`` name what was computed on;
    ``assignments``: the arm of each experiment that the user takes part in; with ``users=`` ``user_assignments``, one
    for each, empty where none of them takes part in any. ``quality``: below 1 where the surface's
    parameters shrank under load, and then the page is DEGRADED. ``cursor``: for ``ask(cursor=)``, which gives the page
    behind this one; None behind the last.
    ``timing`` in microseconds. Of a search: ``total`` items that match, ``facets`` (counts over all of them, by
    column), ``highlights`` (for each item, by field, HTML with the words that match in ``<b>``), and ``spelling``, the
    query as it was probably meant; of completions ``suggestions``. With ``users=`` the groups follow one another:
    ``groups`` holds n + 1 offsets.
    """

    def __init__(self, header: ReplyHeader, answer: Answer) -> None:
        self.status = header.status
        self.request_id = header.request_id
        self.epoch = header.epoch
        self.live_seq = header.live_seq
        self.config_generation = header.config_generation
        self.timing: dict[str, int] = {**answer.timing, "server_us": header.server_us}
        self.ids: np.ndarray | list[str] = decode_ids(answer.ids)
        self.scores = np.frombuffer(answer.scores, dtype="<f4")
        self.source_bits = np.frombuffer(answer.sources, dtype="<u8")
        self.source_names = answer.source_names
        self.coverage = answer.coverage
        self.fields = answer.fields
        self.explain = answer.explain
        self.why = answer.why
        self.assignments = answer.assignments
        self.user_assignments = answer.user_assignments
        self.quality = answer.quality
        self.cursor = answer.cursor
        told = answer.told
        self.total: int | None = told.get("total")
        self.facets: dict[str, list[dict[str, Any]]] = told.get("facets", {})
        self.highlights: list[dict[str, str]] = told.get("highlights", [])
        self.spelling: str = told.get("spelling", "")
        self.suggestions: list[dict[str, Any]] = told.get("suggestions", [])
        self.groups = np.frombuffer(answer.groups, dtype="<u4") if answer.groups else np.array([0, len(self.scores)])

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"<Page {self.status} of {len(self)} from epoch {self.epoch}>"

    @property
    def answered(self) -> float:
        """The share of its sources that answered, as ``min_coverage`` of a surface counts it; 1 for none."""
        asked = len(sources_asked(self.coverage))
        return 1.0 - len(unanswered(self.coverage)) / asked if asked else 1.0

    @property
    def sources(self) -> list[list[str]]:
        """Per item the names of the sources that brought it."""
        return [[n for at, n in enumerate(self.source_names) if bits >> at & 1] for bits in self.source_bits.tolist()]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "status": str(self.status),
            "request_id": self.request_id.hex(),
            "epoch": self.epoch,
            "live_seq": self.live_seq,
            "config_generation": self.config_generation,
            "ids": self.ids if isinstance(self.ids, list) else self.ids.tolist(),
            "scores": self.scores.tolist(),
            "sources": self.sources,
            "groups": self.groups.tolist(),
            "fields": self.fields,
            "answered": self.answered,
            "coverage": [msgspec.structs.asdict(entry) for entry in self.coverage],
            "timing": self.timing,
            "explain": self.explain,
            "why": self.why,
            "assignments": self.assignments,
            "user_assignments": self.user_assignments,
            "quality": self.quality,
            "cursor": self.cursor,
            "total": self.total,
            "facets": self.facets,
            "highlights": self.highlights,
            "spelling": self.spelling,
            "suggestions": self.suggestions,
        }


def encode_ids(ids: np.ndarray | list[str]) -> bytes | StringIds:
    """Ids as they travel."""
    if isinstance(ids, np.ndarray):
        return ids.astype("<u8", copy=False).tobytes()
    raw = [one.encode() for one in ids]
    offsets = np.zeros(len(raw) + 1, dtype="<u4")
    np.cumsum([len(one) for one in raw], out=offsets[1:])
    return StringIds(offsets.tobytes(), b"".join(raw))


def decode_ids(ids: bytes | StringIds) -> np.ndarray | list[str]:
    """The inverse of :func:`encode_ids`."""
    if isinstance(ids, bytes):
        return np.frombuffer(ids, dtype="<u8")
    ends = np.frombuffer(ids.offsets, dtype="<u4").tolist()
    return [ids.utf8[start:end].decode() for start, end in itertools.pairwise(ends)]


def decode_page(header: ReplyHeader, body: bytes | memoryview) -> Page:
    """The page in a reply; raises the exception that its status stands for."""
    try:
        if header.status.answered:
            return Page(header, _answers.decode(body))
        message = _failures.decode(body).error
    except msgspec.MsgspecError as error:
        raise InternalError(f"the body of a {header.status} reply does not follow docs/protocol.md: {error}") from None
    raise error_of(Status(header.status), message, header.retry_after_us)
