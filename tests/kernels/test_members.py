"""Which rows belong to a set, and which carry a tag, beside their twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.members import are_members, are_tagged


@given(st.lists(st.integers(0, 300)), st.lists(st.integers(0, 300), unique=True), st.booleans())
def test_are_members_equal_their_twin(rows, members, ascending):
    rows = np.array(sorted(rows) if ascending else rows, dtype=np.uint32)
    members = np.array(sorted(members), dtype=np.uint32)
    assert are_members(rows, members).tolist() == reference.are_members(rows, members).tolist()


def test_are_members_refuse_other_types():
    with pytest.raises(KernelArgumentError, match="uint32"):
        are_members(np.zeros(2, np.int64), np.zeros(2, np.uint32))


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=30), st.sets(st.integers(0, 6)), st.data()
)
def test_are_tagged_equal_their_twin(lists, codes, data):
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.uint64)
    tags = np.array([tag for one in lists for tag in one], dtype=np.uint32)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lists) - 1))), dtype=np.uint32)
    wanted = np.array(sorted(codes), dtype=np.uint32)
    found = are_tagged(rows, offsets, tags, wanted)
    assert found.dtype == bool
    assert found.tolist() == reference.are_tagged(rows, offsets, tags, wanted).tolist()


def test_are_tagged_refuse_what_does_not_fit():
    rows, offsets, tags = np.array([0, 1], np.uint32), np.array([0, 1, 3], np.uint64), np.zeros(3, np.uint32)
    assert are_tagged(rows, offsets, tags, tags[:1]).tolist() == [True, True]
    for wrong in (
        (rows + np.uint32(1), offsets, tags, tags),
        (rows, offsets[::-1].copy(), tags, tags),
        (rows, offsets, tags[:2], tags),
        (np.array([2**32 - 1], np.uint32), offsets, tags, tags),
    ):
        with pytest.raises(KernelArgumentError, match="outside"):
            are_tagged(*wrong)
    with pytest.raises(KernelArgumentError, match="uint32"):
        are_tagged(rows, offsets, tags, tags.astype(np.int64))
    with pytest.raises(KernelArgumentError, match="uint64"):
        are_tagged(rows, offsets.astype(np.int64), tags, tags)
