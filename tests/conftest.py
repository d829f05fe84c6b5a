"""The seed of the long tests: whoever runs a part of ``make stress`` chooses it, and a failure is run again by it."""

import os

import pytest


@pytest.fixture(scope="session")
def stress_seed():
    """``MIXLINE_SEED``, 1 unless told."""
    return int(os.environ.get("MIXLINE_SEED", "1"))
