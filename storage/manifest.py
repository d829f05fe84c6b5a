"""What an epoch says of itself: format, schema, counts, and the size and digest of every file.

It is the last file written and the first one read; a reader trusts nothing that it does not name. It holds no time
stamp and no host name, so that the same input gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from mixline.storage.analysis import AnalyserFacts
from mixline.storage.askers import USERS_MIN
from mixline.storage.errors import FormatUnknown, StoreDamaged, StoreMissing

FORMAT = 1
MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
KEPT = "events"  # the folder of an epoch with every event that counted

IdKind = Literal["u64", "str"]
ColumnKind = Literal["f32", "i64", "bool", "category", "tags", "text", "bytes"]
Metric = Literal["dot", "cosine", "l2"]
IndexKind = Literal["ivf", "graph"]


class FileFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: int
    sha256: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None


class CatalogueFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``columns``: name -> kind, in the order of the values in a record."""

    count: int
    id_kind: IdKind
    columns: dict[str, ColumnKind]


class IndexFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An approximate index of a space. ``points``: (width, mean recall at ``k``, mean rows scored), widths rising."""

    kind: IndexKind
    parameters: dict[str, int]
    k: int
    points: tuple[tuple[int, float, float], ...]


class SpaceFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``indexes``: what was built beside the exact scan; ``index``: "exact", or with them what was asked for;
    ``vectors``: rows that each user has; ``rotated``: whether codes are of turned rows (``storage/frames.py``)."""

    dim: int
    metric: Metric
    index: str
    items: bool
    users: bool
    indexes: tuple[IndexFacts, ...] = ()
    vectors: int = 1
    rotated: bool = False


class EventFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``newest`` is in seconds since 1970, None when the events have no times; ``actions``: label by action code;
    ``item_times``: whether the times of each item's events are kept; ``seen_by``: whether who acted on each item is."""

    count: int
    skipped: int
    newest: int | None
    actions: tuple[str, ...]
    half_life_days: float | None
    history_max: int
    neighbours: bool
    item_times: bool = False
    seen_by: bool = False


class TextFieldFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column whose texts are searched. ``words``: of all of them together, stop words left out."""

    analyser: AnalyserFacts
    weight: float
    positions: bool
    words: int


class TextFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inverted index. ``words``: how many are known as they are spelt; ``suggest``: the column that completes;
    ``queries_users``: how many must have asked a query before others are told of it."""

    fields: dict[str, TextFieldFacts]
    k1: float
    b: float
    terms: int
    postings: int
    words: int
    suggest: str
    queries_users: int = USERS_MIN


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    number: int
    live_seq: int
    items: CatalogueFacts
    users: CatalogueFacts
    events: EventFacts | None
    spaces: dict[str, SpaceFacts]
    files: dict[str, FileFacts]
    spec: dict
    text: TextFacts | None = None


class _FormatOnly(msgspec.Struct):
    format: int


def encode_manifest(manifest: Manifest) -> bytes:
    """Indented JSON. Keys keep their order: that of ``columns`` is the order of the values in every record."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of the epoch in ``folder``; the format version is judged before anything else."""
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreMissing(f"{folder}: no epoch is here (no {MANIFEST})") from error
    return decode_manifest(raw, path)


def decode_manifest(raw: bytes, path: Path) -> Manifest:
    try:
        found = msgspec.json.decode(raw, type=_FormatOnly).format
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreDamaged(f"{path}: not a manifest ({error}); run mixline epoch verify, or build again") from error
    if found != FORMAT:
        raise FormatUnknown(
            f"{path}: store format {found}, and this release reads format {FORMAT}; "
            "run mixline build with this release, or read the store with the release that wrote it"
        )
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"{path}: damaged ({error}); run mixline epoch verify, or build again") from error
