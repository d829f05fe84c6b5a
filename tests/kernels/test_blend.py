"""The weighted sum and the check of a choice, each beside its twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.blend import blend, is_choice
from mixline.kernels.errors import KernelArgumentError

numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.data(), st.integers(0, 40), st.integers(1, 6))
def test_blend_equals_its_twin(data, count, width):
    columns = [
        np.array(data.draw(st.lists(numbers, min_size=count, max_size=count)), dtype=data.draw(st.sampled_from("fd")))
        for _ in range(width)
    ]
    weights = np.array(data.draw(st.lists(st.floats(-1e3, 1e3), min_size=width, max_size=width)))
    with np.errstate(all="ignore"):
        expected = reference.blend(columns, weights)
    np.testing.assert_array_equal(blend(columns, weights), expected)


def test_blend_refuses_what_does_not_fit():
    with pytest.raises(KernelArgumentError, match="columns"):
        blend([], np.zeros(0))
    with pytest.raises(KernelArgumentError, match="column 1"):
        blend([np.zeros(2), np.zeros(3)], np.ones(2))


@given(st.lists(st.integers(-2, 12)), st.lists(st.integers(-2, 12)), st.integers(0, 10))
def test_is_choice_equals_its_twin(taken, offered, count):
    arrays = np.array(taken, dtype=np.int64), np.array(offered, dtype=np.int64)
    assert is_choice(*arrays, count) == reference.is_choice(*arrays, count)
