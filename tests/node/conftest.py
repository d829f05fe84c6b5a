"""The film store, built once for all tests of the engine, which only read it."""

import shutil
from pathlib import Path

import pytest
from film_store import build_store, node_with
from shop_store import build_shop


@pytest.fixture(scope="session")
def film_store(tmp_path_factory):
    """Path of the store."""
    return build_store(tmp_path_factory.mktemp("films"))


@pytest.fixture
def node(film_store, tmp_path):
    """Opens nodes of the film store with surfaces given as keyword arguments, and closes them."""
    opened = []

    def make(**surfaces):
        opened.append(node_with(film_store, tmp_path, **surfaces))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def shop_store(tmp_path_factory):
    """Path of the store of articles."""
    return build_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def own_shop(shop_store, tmp_path):
    """A copy of it that a test may write to."""
    return Path(shutil.copytree(shop_store, tmp_path / "store"))
