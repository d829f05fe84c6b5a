"""Counts of codes over bitmaps against counting row by row."""

import numpy as np
import pytest

from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.reference_postings import counted
from mixline.kernels.tally import count_codes, count_tags, rows_of

COUNT, CODES = 5000, 40


def bitmap(rng, share):
    bits = np.zeros(-(-COUNT // 64) * 64, bool)
    bits[:COUNT] = rng.random(COUNT) < share
    return np.packbits(bits, bitorder="little").view(np.uint64)


def cut(words, start, stop):
    part = np.zeros_like(words)
    part[start:stop] = words[start:stop]
    return part


@pytest.mark.parametrize("share", [0.0, 0.01, 0.6, 1.0])
def test_rows_and_codes_are_those_of_counting_row_by_row(share):
    rng = np.random.default_rng(1)
    words = bitmap(rng, share)
    for start, stop in ((0, len(words)), (0, 0), (7, 31), (len(words) - 1, len(words))):
        part = cut(words, start, stop)
        rows = np.flatnonzero(np.unpackbits(part.view(np.uint8), bitorder="little"))
        found = rows_of(words, start, stop)
        assert found.dtype == np.uint32 and (found == rows).all()
        for dtype, missing in ((np.uint8, 255), (np.uint32, 0xFFFFFFFF)):
            codes = rng.integers(CODES, size=COUNT).astype(dtype)
            codes[rng.random(COUNT) < 0.1] = missing
            counts = np.full(CODES, 3, np.int64)
            count_codes(words, start, stop, codes, counts)
            assert (counts - 3 == counted(part, codes, CODES)).all()
        many = rng.integers(4, size=COUNT)
        tags = [rng.integers(CODES, size=n).astype(np.uint32) for n in many]
        for dtype in (np.uint32, np.uint64):
            offsets = np.concatenate(([0], np.cumsum(many))).astype(dtype)
            counts = np.zeros(CODES, np.int64)
            count_tags(words, start, stop, offsets, np.concatenate(tags), counts)
            assert (counts == counted(part, tags, CODES)).all()


def test_the_door_refuses():
    words, counts = np.full(2, 1 << 63, np.uint64), np.zeros(CODES, np.int64)
    codes = np.zeros(127, np.uint32)
    count_codes(words, 0, 1, codes, counts)
    assert counts[0] == 1
    with pytest.raises(KernelArgumentError, match="word 1, of 127 rows"):
        count_codes(words, 0, 2, codes, counts)
    with pytest.raises(KernelArgumentError, match="of 127 rows"):
        count_tags(words, 0, 2, np.zeros(128, np.uint32), codes, counts)
    with pytest.raises(KernelArgumentError, match=r"words 1 \.\. 3 of 2"):
        rows_of(words, 1, 3)
