"""Rings: a model in one process, hostile indices, and two processes of which one is killed again and again."""

import mmap
import os
import random
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
import ring_peer
from hypothesis import given
from hypothesis import strategies as st

from mixline.ipc.errors import Corrupt, SegmentError
from mixline.ipc.rings import Consumer, Descriptor, Producer, ring_bytes
from mixline.ipc.segments import create, map_segment
from mixline.ipc.words import Words

FIELDS = [
    "slot",
    "generation",
    "life",
    "attempt",
    "status",
    "kind",
    "offset",
    "length",
    "server_us",
    "epoch",
    "live_seq",
    "config_generation",
    "deadline_ns",
]


@given(st.lists(st.integers(-3, 5), max_size=60), st.sampled_from([2, 4, 16]))
def test_ring_equals_a_bounded_queue(steps, capacity):
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    producer, consumer = Producer(memory, 0, capacity), Consumer(memory, 0, capacity)
    model, message, got, number = deque(), Descriptor(), Descriptor(), 0
    for step in steps:
        for _ in range(abs(step)):
            if step > 0:
                message.epoch = number
                assert producer.push(message) == (len(model) < capacity)
                if len(model) < capacity:
                    model.append(number)
                number += 1
            else:
                assert consumer.pop(got) == bool(model)
                if model:
                    assert got.epoch == model.popleft()
        assert len(producer) == len(consumer) == len(model)
        if not step:  # both owners die; their successors carry on
            producer, consumer = Producer(memory, 0, capacity), Consumer(memory, 0, capacity)


def test_every_field_travels():
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    message, got = Descriptor(), Descriptor()
    for at, name in enumerate(FIELDS):
        setattr(message, name, 200 + at)
    assert Producer(memory, 0, 2).push(message) and Consumer(memory, 0, 2).pop(got)
    assert [getattr(got, name) for name in FIELDS] == [200 + at for at in range(len(FIELDS))]
    with pytest.raises(OverflowError):
        message.attempt = 2**16


def test_impossible_index_is_corrupt():
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    lines = Words(memory, 0, 2, 128)  # tail, head
    producer, consumer = Producer(memory, 0, 4), Consumer(memory, 0, 4)
    lines.store(0, 99)
    with pytest.raises(Corrupt):
        consumer.pop(Descriptor())
    with pytest.raises(Corrupt):
        Consumer(memory, 0, 4)
    lines.store(0, 0)
    for _ in range(4):
        producer.push(Descriptor())
    lines.store(1, 50)
    with pytest.raises(Corrupt):
        producer.push(Descriptor())


def test_advance_needs_a_peek_and_rings_need_room():
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    with pytest.raises(Corrupt, match="advance"):
        Consumer(memory, 0, 4).advance()
    for arguments in ((0, 128), (8, 4), (-64, 4)):
        with pytest.raises(SegmentError):
            Producer(memory, *arguments)
    for capacity in (0, 1, 3):
        with pytest.raises(ValueError, match="power of two"):
            ring_bytes(capacity)


class TwoProcesses:
    """A ring between two programs; kills one side at random times and starts it again."""

    def __init__(self, total):
        self.total = total
        self.fd = create("ring-test", ring_peer.SIZE)
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.words = Words(map_segment(self.fd, ring_peer.SIZE, writable=True), ring_peer.WORDS_AT, 4, 64)
        self.sides = {}

    def start(self, side):
        fds = [self.fd, *self.bells]
        arguments = [side, *map(str, [self.fd, self.total, *self.bells])]
        program = str(Path(ring_peer.__file__))
        self.sides[side] = subprocess.Popen([sys.executable, program, *arguments], pass_fds=fds)

    def kill(self, side):
        self.sides[side].kill()
        self.sides[side].wait()

    def run(self, rng, gap_s):
        kills = 0
        for side in ("produce", "consume"):
            self.start(side)
        while self.words.load(ring_peer.VERIFIED) < self.total:
            time.sleep(rng.uniform(*gap_s))
            for side, process in list(self.sides.items()):
                assert process.poll() in (None, 0), f"{side} failed by itself"
            side = rng.choice(sorted(self.sides))
            if self.sides[side].poll() is None:
                self.kill(side)
                self.start(side)
                kills += 1
        return kills

    def close(self):
        for side in self.sides:
            self.kill(side)
        for fd in (self.fd, *self.bells):
            os.close(fd)


def run_two_processes(total, seed, gap_s):
    ring = TwoProcesses(total)
    try:
        kills = ring.run(random.Random(seed), gap_s)
        assert ring.words.load(ring_peer.VERIFIED) == total
        assert ring.words.load(ring_peer.FAULT) == 0
        return kills
    finally:
        ring.close()


def test_two_processes_lose_nothing_while_one_is_killed():
    assert run_two_processes(400_000, seed=7, gap_s=(0.15, 0.4)) > 0


@pytest.mark.stress
@pytest.mark.timeout(870)
def test_ten_million_messages_while_one_is_killed(stress_seed):
    assert run_two_processes(10_000_000, seed=stress_seed, gap_s=(0.2, 1.0)) > 10
