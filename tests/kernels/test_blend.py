"""The weighted sum, and whole numbers as floating point, each beside its twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.kernels import reference
from mixline.kernels.blend import blend, floats, numbers
from mixline.kernels.errors import KernelArgumentError

singles = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.data(), st.integers(0, 40), st.integers(1, 6))
def test_blend_equals_its_twin(data, count, width):
    columns = [
        np.array(data.draw(st.lists(singles, min_size=count, max_size=count)), dtype=data.draw(st.sampled_from("fd")))
        for _ in range(width)
    ]
    weights = np.array(data.draw(st.lists(st.floats(-1e3, 1e3), min_size=width, max_size=width)))
    with np.errstate(all="ignore"):
        expected = reference.blend(columns, weights)
    found = blend(columns, weights)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [511, 512, 513, 1024, 3000])
def test_length_agnosticism(count):
    rng = np.random.default_rng(count)
    columns = [rng.standard_normal(count).astype(np.float32 if at % 2 else np.float64) for at in range(300)]
    weights = rng.standard_normal(300)
    assert blend(columns, weights).tobytes() == reference.blend(columns, weights).tobytes()


def test_blend_takes_columns_of_any_layout_and_type():
    matrix = np.arange(24, dtype=np.float32).reshape(4, 6)
    columns = [matrix[:, 1], matrix[::-1, 2], matrix[:, 3].astype(np.float16), np.array([1, 0, 1, 1], bool)]
    weights = np.array([1.0, 0.5, -2.0, 3.0])
    assert blend(columns, weights).tolist() == reference.blend(columns, weights).tolist()


def test_blend_refuses_what_does_not_fit():
    with pytest.raises(KernelArgumentError, match="columns"):
        blend([], np.zeros(0))
    with pytest.raises(KernelArgumentError, match="weights"):
        blend([np.zeros(2)], np.ones(1, np.float32))
    with pytest.raises(KernelArgumentError, match="column 1"):
        blend([np.zeros(2), np.zeros(3)], np.ones(2))
    with pytest.raises(KernelArgumentError, match="column 1"):
        blend([np.zeros(2), np.zeros((2, 2))], np.ones(2))


def test_floats_are_all_columns_or_none():
    columns = {
        "a": np.zeros(3, np.float32),
        "b": np.zeros(3),
        "half": np.zeros(3, np.float16),
        "step": np.zeros(6)[::2],
    }
    assert [id(column) for column in floats(columns, ["b", "a"])] == [id(columns["b"]), id(columns["a"])]
    assert floats(columns, []) == []
    assert all(floats(columns, ["a", name]) is None for name in ("half", "step", "absent"))


@given(st.lists(st.integers(0, 255)), st.sampled_from(["i8", "u4", "u1"]), st.integers(0, 255))
def test_numbers_equal_their_twin(values, dtype, missing):
    array = np.array(values, dtype=dtype)
    found = numbers(array, missing)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, reference.numbers(array, missing))


def test_numbers_at_the_ends_of_their_types():
    least = np.iinfo(np.int64).min
    assert numbers(np.array([least, least + 1], np.int64), least).tolist()[1] == float(least + 1)
    with pytest.raises(KernelArgumentError, match="int64"):
        numbers(np.zeros(3, np.int16), 0)
    with pytest.raises(KernelArgumentError, match="int64"):
        numbers(np.zeros((2, 2), np.int64), 0)
