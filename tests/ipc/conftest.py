"""In the debug build every test of the exchange must give back what it took: buffer views and blocks."""

import gc

import pytest

from mixline.ipc import blocks, rings, words


@pytest.fixture(autouse=True)
def nothing_leaks():
    gc.collect()
    before = [module.live() for module in (blocks, rings, words)]
    yield
    gc.collect()
    assert [module.live() for module in (blocks, rings, words)] == before
