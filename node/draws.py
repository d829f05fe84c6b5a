"""Draws that are the same everywhere: 64 bits of BLAKE2b, keyed by a salt, of what is drawn for.

Nothing is kept, so every worker, every restart and any program in another language draws the same.
"""

from __future__ import annotations

from _blake2 import blake2b  # hashlib would load OpenSSL, 2 MB of every worker

from mixline.node.request import Id

WHOLE = 1 << 64


def draw(salt: str, unit: bytes) -> int:
    """A number from 0 to 2^64 - 1; the salt's first 64 bytes of UTF-8 count."""
    return int.from_bytes(blake2b(unit, key=salt.encode()[:64], digest_size=8).digest(), "little")


def unit_of(one: Id) -> bytes:
    """An id as what is drawn for: a number as 8 bytes, little-endian, a string as its UTF-8."""
    return one.to_bytes(8, "little", signed=one < 0) if isinstance(one, int) else one.encode("utf-8", "surrogatepass")
