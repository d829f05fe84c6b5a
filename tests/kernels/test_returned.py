"""Whether what a component returned is what it may return."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.checks import fits, is_choice, misfit
from mixline.kernels.errors import KernelArgumentError


def test_what_fits():
    rows, scores = np.array([1, 2], np.uint32), np.ones(2, np.float32)
    assert fits(rows, scores, 3) and fits(rows[:0], scores[:0], 0)
    for other in ((rows, scores, 2), ([1, 2], scores, 3), (rows, scores[:1], 3), (rows[::-1], scores, 3)):
        assert not fits(*other)


def test_the_first_misfit_is_named():
    columns = {
        "a": np.zeros(3),
        "b": np.zeros(3, "U2"),
        "short": np.zeros(2),
        "flat": np.zeros((3, 1)),
        "list": [1, 2, 3],
    }
    assert misfit(columns, (), 3) is misfit(columns, ("a", "b"), 3) is None
    for name in ("short", "flat", "list", "absent"):
        assert misfit(columns, ["a", name, "b"], 3) == name


@given(st.lists(st.integers(-2, 12)), st.lists(st.integers(-2, 12)), st.integers(0, 10))
def test_is_choice_equals_its_twin(taken, offered, count):
    arrays = np.array(taken, dtype=np.int64), np.array(offered, dtype=np.int64)
    assert is_choice(*arrays, count) == reference.is_choice(*arrays, count)


def test_is_choice_refuses_other_types():
    with pytest.raises(KernelArgumentError, match="int64"):
        is_choice(np.zeros(1, np.uint32), np.zeros(1, np.int64), 3)
