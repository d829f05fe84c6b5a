"""Operations that an epoch carries: what its arrays cannot say, such as blocks, applied before any of the log.

A file of the epoch, one MessagePack array of batches as the log has them; there is none where nothing is carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mixline.storage.errors import StoreDamaged
from mixline.storage.live_ops import Batch, decode_batch, encode_batch

CARRIED = "carried.msgpack"
_batches = msgspec.msgpack.Decoder(list[bytes])


def write_carried(epoch: Path, batches: Sequence[Batch]) -> None:
    """Put them into the folder of a coming epoch."""
    if batches:
        (epoch / CARRIED).write_bytes(msgspec.msgpack.encode([encode_batch(batch) for batch in batches]))


def carries(epoch: Path) -> bool:
    """Whether there is anything to apply."""
    return (epoch / CARRIED).exists()


def read_carried(epoch: Path) -> list[Batch]:
    """All of them, in order."""
    try:
        raw = (epoch / CARRIED).read_bytes()
    except FileNotFoundError:
        return []
    try:
        return [decode_batch(one) for one in _batches.decode(raw)]
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"{epoch / CARRIED}: damaged ({error}); run mixline epoch verify") from error
