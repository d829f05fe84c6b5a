"""Dense layers beside their twin on every instruction path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import each_path

from mixline.kernels import dense
from mixline.kernels.dense import Layer
from mixline.kernels.errors import KernelArgumentError
from mixline.kernels.reference_dense import dense as twin

simd = each_path(dense)


def as_its_twin(rng, rows, inputs, outputs):
    """Bit for bit, with and without what is below 0."""
    weights = rng.standard_normal((inputs, outputs), dtype=np.float32)
    bias = rng.standard_normal(outputs, dtype=np.float32)
    given_rows = rng.standard_normal((rows, inputs), dtype=np.float32)
    if rows and inputs:
        given_rows[rng.integers(rows), rng.integers(inputs)] = rng.choice([np.nan, np.inf, -0.0])
    layer = Layer(weights, bias)
    assert (layer.inputs, layer.outputs) == (inputs, outputs)
    for rectify in (False, True):
        found = layer.apply(given_rows, rectify)
        expected = twin(given_rows, weights, bias, rectify)
        assert found.dtype == np.float32 and np.array_equal(found, expected, equal_nan=True)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 70), st.integers(0, 140))
def test_a_layer_equals_its_twin(seed, rows, inputs, outputs):
    as_its_twin(np.random.default_rng(seed), rows, inputs, outputs)


@pytest.mark.parametrize("outputs", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("inputs", [1, 7, 64])
def test_every_path_and_size(simd, inputs, outputs):
    as_its_twin(np.random.default_rng(inputs * outputs), 33, inputs, outputs)


def test_what_does_not_fit_is_refused():
    with pytest.raises(KernelArgumentError, match="2 biases for 3 outputs"):
        Layer(np.zeros((4, 3), np.float32), np.zeros(2, np.float32))
    with pytest.raises(KernelArgumentError, match="rows of 5 for a layer of 4 inputs"):
        Layer(np.zeros((4, 3), np.float32), np.zeros(3, np.float32)).apply(np.zeros((1, 5), np.float32))
