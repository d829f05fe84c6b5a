"""What the kernel of postings does, in NumPy: lists read number by number, and every row scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

PACK, LANES, DEPTHS, UNITS = 128, 4, 3, 1 << 20


def unpack(raw: np.ndarray, count: int, bits: int) -> np.ndarray:
    """``count`` numbers of ``bits`` bits: a whole block in four lanes, fewer one after the other."""
    if not bits:
        return np.zeros(count, dtype=np.int64)
    if count == PACK:
        lanes = raw[: 16 * bits].view("<u4").reshape(-1, LANES)
        streams = [np.ascontiguousarray(lanes[:, lane]).view(np.uint8) for lane in range(LANES)]
        return np.stack([unpack(stream, PACK // LANES, bits) for stream in streams], axis=1).ravel()
    found = np.unpackbits(raw[: -(-count * bits // 8)], bitorder="little")[: count * bits].reshape(count, bits)
    return found.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))


def read_list(lists: np.ndarray, start: int, count: int, fields: int, stored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a list (int64), and how often each field of them has the term (int64, (fields, rows))."""
    full, entry = count // PACK, 8 + 4 * stored + 1 + 2 * fields
    blocks = -(-count // PACK)
    headers = lists[start + 4 * fields + (4 * DEPTHS if fields == 1 else 0) :]
    payload = headers[blocks * entry :] if full else lists[start:]
    rows, times, at, before = [], [], 0, -1
    for block in range(blocks):
        many = min(PACK, count - block * PACK)
        if full:
            bits = headers[block * entry + entry - 1 - 2 * fields :][: 1 + fields].tolist()
        else:
            bits, at = payload[: 1 + fields].tolist(), 1 + fields
        numbers = []
        for wide in bits:
            numbers.append(unpack(payload[at:], many, wide))
            at += 16 * wide if many == PACK else -(-many * wide // 8)
        rows.append(before + np.cumsum(numbers[0] + 1))
        before = int(rows[-1][-1])
        times.append(np.array(numbers[1:]) + (fields == 1))
    return np.concatenate(rows), np.concatenate(times, axis=1)


def worths(
    rows: np.ndarray, times: np.ndarray, lengths: Sequence[np.ndarray], view: Sequence, weight: float, k1: float
) -> np.ndarray:
    """What each row is worth for a term, in units of 2^-20 (int64); 0 where no field that is asked has it."""
    shares = np.zeros(len(rows), dtype=np.float32)
    for field, norms in enumerate(view):
        if norms is not None:
            shares += times[field].astype(np.float32) * norms[1:][lengths[field][rows]]
    scale = np.float32(np.float32(weight) * np.float32(UNITS))
    found = (scale * (shares / (shares + np.float32(k1))) + np.float32(0.5)).astype(np.int64)
    return found + ((found == 0) & (shares > 0) & (scale > 0))


def best_rows(
    sums: np.ndarray, groups: np.ndarray, kinds: Iterable[int], keys: np.ndarray, allowed: np.ndarray | None, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best ``k`` rows by summed worth, then key, of those that match: ``groups`` (bool, (groups, rows)) says which
    rows have a term of each group. Kinds are 0 (may), 1 (must), 2 (must not), 3 (worth nothing)."""
    matching = sums > 0
    for has, kind in zip(groups, kinds, strict=True):
        matching &= has if kind == 1 else ~has if kind == 2 else True
    if allowed is not None:
        matching &= np.unpackbits(allowed.view(np.uint8), bitorder="little")[: len(sums)].astype(bool)
    rows = np.flatnonzero(matching)
    scores = (sums[rows] / UNITS).astype(np.float32)
    order = np.lexsort((keys[rows], -scores))[:k]
    return rows[order].astype(np.uint32), scores[order]


def counted(words: np.ndarray, codes: Sequence[np.ndarray], many: int) -> np.ndarray:
    """How many rows of a bitmap have each of the codes 0 .. ``many`` (int64); ``codes`` by row, any number each."""
    rows = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
    every = np.concatenate([np.zeros(0, dtype=np.int64), *(np.atleast_1d(codes[row]).astype(np.int64) for row in rows)])
    return np.bincount(every[every < many], minlength=many)
