"""The film store, built once for all tests of the engine, which only read it."""

import pytest
from film_store import build_store


@pytest.fixture(scope="session")
def film_store(tmp_path_factory):
    """Path of the store."""
    return build_store(tmp_path_factory.mktemp("films"))
