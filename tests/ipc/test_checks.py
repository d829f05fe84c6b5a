"""Which build is under test, and that the debug build's checks really fire."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mixline.ipc import blocks, words
from mixline.ipc.blocks import Blocks

COMPILED = [
    *(f"mixline.ipc.{name}" for name in ("blocks", "rings", "words", "_os")),
    *(
        f"mixline.kernels.{name}"
        for name in ("accumulate", "bitmap", "blend", "checks", "gather", "members", "merge", "scan", "slate", "topk")
    ),
]
TWO_PRODUCERS = """
import mmap
from mixline.ipc.rings import Descriptor, Producer
memory = mmap.mmap(-1, 4096)
first, second = Producer(memory, 0, 4), Producer(memory, 0, 4)
first.push(Descriptor())
second.push(Descriptor())
"""
debug_only = pytest.mark.skipif(not words.DEBUG, reason="needs the debug build: make debug-test")


def test_the_build_asked_for_is_the_one_loaded():
    wanted = os.environ.get("MIXLINE_EXPECT_BUILD")
    if wanted is None:
        assert not words.DEBUG
        return
    assert words.DEBUG
    for name in COMPILED:
        assert Path(importlib.import_module(name).__file__).is_relative_to(Path(wanted).absolute())


def run_python(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


@debug_only
def test_second_producer_is_caught_in_the_act():
    done = run_python(TWO_PRODUCERS)
    assert done.returncode == -signal.SIGABRT and "another producer moved the tail" in done.stderr


@debug_only
def test_live_counter_sees_what_is_held_and_what_died_with_its_owner():
    before = blocks.live()
    held = Blocks(((64, 4),))
    held.give(held.take(1))
    held.take(1)
    assert blocks.live() == before + 1
    del held
    assert blocks.live() == before
