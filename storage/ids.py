"""External ids outside the files of a build: what one may be, its order key, and where late ones are found.

Needs no Arrow, for workers and the writer; a build, which reads whole columns of ids, takes limits and keys from here.
"""

from __future__ import annotations

import hashlib

import numpy as np

from mixline.storage.errors import ExtraMissing
from mixline.storage.live_index import find_ids

ID_BYTES_MAX = 255  # of a string's UTF-8
U64_MAX = (1 << 64) - 1


def is_id(kind: str, one: object) -> bool:
    """Whether it may be an id in a catalogue of this kind."""
    if kind == "u64":
        return isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= U64_MAX
    return isinstance(one, str) and 0 < len(one.encode("utf-8", "surrogatepass")) <= ID_BYTES_MAX


def order_keys(raw: list[bytes]) -> np.ndarray:
    """XXH3-64 of each string's UTF-8."""
    try:
        import xxhash
    except ImportError as error:
        raise ExtraMissing("xxhash", "build", "an item or user with a string id") from error
    return np.fromiter(map(xxhash.xxh3_64_intdigest, raw), dtype=np.uint64, count=len(raw))


def table_key(one: int | str) -> int:
    """What an id is found by in the table of those that came later: itself, or for strings 64 bits of BLAKE2b."""
    if isinstance(one, int):
        return one
    raw = one.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def look_up(table: np.ndarray, one: int | str, end: int) -> int:
    """The row below ``end`` that has the key of an id, which two strings may share; 0xFFFFFFFF where there is none."""
    return int(find_ids(table, np.array([table_key(one)], dtype=np.uint64), end)[0])
