"""Places that want a kind, and flagged candidates apart, beside the twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.arrange import arrange
from mixline.kernels.errors import KernelArgumentError


@given(
    st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=40),
    st.lists(st.integers(0, 7), max_size=45),
    st.integers(0, 6),
)
def test_it_equals_its_twin(candidates, wants, gap):
    kinds = np.array([kind for kind, _ in candidates], dtype=np.uint64)
    flagged = np.array([flag for _, flag in candidates], dtype=bool)
    wants = np.array(wants, dtype=np.uint64)
    order, *given_up = arrange(kinds, flagged, wants, gap)
    assert order.dtype == np.int64
    assert (order.tolist(), *given_up) == reference.arrange(kinds, flagged, wants, gap)
    assert len(set(order.tolist())) == min(len(kinds), len(wants))


def test_the_highest_kind_is_one():
    kinds = np.array([1, 1 << 63, 1], dtype=np.uint64)
    order, other, _ = arrange(kinds, np.zeros(3, bool), np.array([1 << 63, 0, 1 << 63], np.uint64), 0)
    assert order.tolist() == [1, 0, 2] and other == 1


def test_what_does_not_fit_is_refused():
    kinds, wants, flagged = np.zeros(3, np.uint64), np.zeros(2, np.uint64), np.zeros(3, bool)
    for wrong in ((kinds.astype(int), flagged, wants), (kinds, flagged, wants.astype(int))):
        with pytest.raises(KernelArgumentError, match="uint64"):
            arrange(*wrong, 1)
    for odd in (flagged[:2], flagged.astype(int)):
        with pytest.raises(KernelArgumentError, match="flagged"):
            arrange(kinds, odd, wants, 1)
