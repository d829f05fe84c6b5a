"""Where the stores of tests lie, and the seed of the long ones."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY, ROOM = Path("/dev/shm"), 4 << 30


def pytest_configure():
    """Stores lie in memory where there is room for them and ``TMPDIR`` says nothing else: half of the time of all tests
    was the disk's. What is asked of a disk is asked all the same, and watched where a test is about it."""
    # Where Python is told to keep nothing of what it compiled, each process of a test would compile mixline anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


@pytest.fixture(scope="session")
def stress_seed():
    """``MIXLINE_SEED``, 1 unless told: a part of ``make stress`` that failed is run again by it."""
    return int(os.environ.get("MIXLINE_SEED", "1"))


@pytest.fixture(scope="session")
def disk():
    """A folder on the disk that the checkout lies on, for what is about pages that a disk can bring back."""
    build = Path(__file__).resolve().parent.parent / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        yield Path(folder)
