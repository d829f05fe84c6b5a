"""Cursors: what a client hands back for the next page, so that no item comes twice, whatever changed in between.

A cursor carries the order keys of all that its pages have shown, which no epoch changes, and is signed: the node keeps
nothing. It holds for one question (surface, user, items, query), for a day, and for so many items.
"""

from __future__ import annotations

import os
import secrets
import struct
import time
from _blake2 import blake2b
from _operator import _compare_digest as same
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mixline.node import limits
from mixline.node.draws import draw
from mixline.node.errors import BadRequest, NotReady
from mixline.node.request import Ask

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.node.config import Surface

KEY_FILE, KEY_BYTES, MAC_BYTES = "cursor.key", 32, 16
HEAD = struct.Struct("<BBHIQ")  # version, bytes of a step, items, second in which it was made, draw of the question
VERSION = 1
BYTES_MAX = 2 * (HEAD.size + 8 * limits.cursor_items_max + MAC_BYTES)
BEGIN = "; ask without cursor to begin anew"


class Cursors:
    """Those of one store, whose key lies beside it: nodes that serve copies of a store need copies of the key."""

    def __init__(self, store: Path) -> None:
        self.path = store / KEY_FILE
        self._key = b""
        self.fault = ""
        self.now = now_s

    def key(self) -> bytes:
        """The key, made when there is none; empty, with ``fault``, where it cannot be had."""
        if not self._key and not self.fault:
            try:
                self._key = self._read()
            except OSError as error:
                self.fault = f"{self.path}: {error.strerror}"
        return self._key

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            fresh = self.path.with_name(f"{KEY_FILE}.{os.getpid()}")
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, secrets.token_bytes(KEY_BYTES))
                os.fsync(fd)
            finally:
                os.close(fd)
            with suppress(FileExistsError):  # whoever comes second takes the first one's
                os.link(fresh, self.path)
            fresh.unlink()
            return self.path.read_bytes()

    def make(self, surface: str, ask: Ask, shown: np.ndarray) -> str | None:
        """A cursor behind ``shown`` (order keys, uint64, no two alike); None where it could not be taken."""
        key = self.key()
        if not key or len(shown) > limits.cursor_items_max:
            return None
        keys = np.sort(shown)
        steps = np.empty(len(keys), dtype="<u8")
        steps[:1] = keys[:1]
        np.subtract(keys[1:], keys[:-1], out=steps[1:])
        width = (int(steps.max()).bit_length() + 7) // 8 if len(steps) else 0
        head = HEAD.pack(VERSION, width, len(keys), self.now(), question(surface, ask))
        signed = head + steps.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
        return urlsafe_b64encode(signed + mac(key, signed)).decode()

    def behind(self, call: Call, surface: Surface, limit: int) -> str | None:
        """For the page behind the one that was just made; None where there is none."""
        block = call.block
        if not surface.paging or call.ask.users is not None or len(block.slate) < limit:
            return None
        keys = block.key[block.slate]
        shown = np.concatenate((call.shown, keys)) if len(call.shown) else keys
        return self.make(surface.name, call.asked, shown)

    def read(self, surface: str, ask: Ask) -> np.ndarray:
        """The order keys (uint64) that a request's cursor stands behind; :class:`BadRequest` where it cannot be."""
        text, key = ask.cursor or "", self.key()
        if not key:
            raise NotReady(f"cursor: this node has no key for cursors: {self.fault}")
        try:
            raw = urlsafe_b64decode(text.encode("ascii")) if len(text) <= BYTES_MAX else b""
        except (ValueError, UnicodeEncodeError):
            raw = b""
        signed, given = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if len(signed) < HEAD.size or urlsafe_b64encode(raw).decode() != text or not same(given, mac(key, signed)):
            raise BadRequest(f"cursor: was not made by this node, or was changed{BEGIN}")
        version, width, count, made_s, asked = HEAD.unpack_from(signed)
        if version != VERSION:
            raise BadRequest(f"cursor: of version {version}, and this node speaks {VERSION}{BEGIN}")
        if asked != question(surface, ask):
            raise BadRequest(f"cursor: belongs to another surface, user, item or query{BEGIN}")
        age_s = self.now() - made_s
        if age_s > limits.cursor_s_max:
            raise BadRequest(f"cursor: is {age_s} seconds old, at most {limits.cursor_s_max} are taken{BEGIN}")
        steps = np.zeros((count, 8), dtype=np.uint8)
        steps[:, :width] = np.frombuffer(signed, dtype=np.uint8, offset=HEAD.size).reshape(count, width)
        return np.cumsum(steps.view("<u8").ravel(), dtype=np.uint64)


def question(surface: str, ask: Ask) -> int:
    """What a cursor holds for, in 64 bits."""
    return draw("cursor", msgspec.msgpack.encode([surface, ask.user, ask.item, ask.items, ask.query]))


def mac(key: bytes, signed: bytes) -> bytes:
    """BLAKE2b, keyed."""
    return blake2b(signed, key=key, digest_size=MAC_BYTES).digest()


def now_s() -> int:
    """Seconds since 1970."""
    return int(time.clock_gettime(time.CLOCK_REALTIME))
