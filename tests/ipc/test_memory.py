"""Segments, words, blocks and seats: one process suffices; the rings have a file of their own."""

import itertools
import mmap
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mixline.ipc import seats
from mixline.ipc.blocks import Blocks
from mixline.ipc.board import BOARD_BYTES, Board
from mixline.ipc.calls import forget_code
from mixline.ipc.errors import Corrupt, IpcError, SegmentError
from mixline.ipc.rings import Descriptor
from mixline.ipc.segments import create, map_segment, reopen_readonly
from mixline.ipc.words import Bell, Words

PLAN = ((64, 4), (256, 3), (4096, 2))


@pytest.fixture
def segment():
    fd = create("mixline-test", mmap.PAGESIZE)
    yield fd
    os.close(fd)


def test_segment_can_neither_shrink_nor_grow(segment):
    for size in (0, mmap.PAGESIZE * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(segment, size)


def test_unsealed_or_wrong_size_is_refused(segment):
    with pytest.raises(SegmentError, match="expected"):
        map_segment(segment, 2 * mmap.PAGESIZE, writable=True)
    fd = os.memfd_create("plain")
    try:
        os.ftruncate(fd, mmap.PAGESIZE)
        with pytest.raises(SegmentError, match="not sealed"):
            map_segment(fd, mmap.PAGESIZE, writable=True)
    finally:
        os.close(fd)


def test_readonly_descriptor_cannot_be_mapped_for_writing(segment):
    readonly = reopen_readonly(segment)
    try:
        with pytest.raises(PermissionError):
            map_segment(readonly, mmap.PAGESIZE, writable=True)
        writer = Words(map_segment(segment, mmap.PAGESIZE, writable=True), 0, 4)
        reader = Words(map_segment(readonly, mmap.PAGESIZE, writable=False), 0, 4)
        writer.store(3, 2**64 - 1)
        assert reader.load(3) == 2**64 - 1
        for refused in (lambda: reader.store(0, 1), lambda: reader.add(0, 1)):
            with pytest.raises(SegmentError, match="read-only"):
                refused()
    finally:
        os.close(readonly)


def test_words_check_their_bounds(segment):
    memory = map_segment(segment, mmap.PAGESIZE, writable=True)
    words = Words(memory, 64, 8, 64)
    for index in (-1, 8):
        with pytest.raises(IndexError):
            words.load(index)
    for arguments in ((4, 1), (0, 0), (0, 65, 64), (-8, 1), (0, 1, 12)):
        with pytest.raises(SegmentError):
            Words(memory, *arguments)
    words.add(0, 2**64 - 1)
    words.add(0, 3)
    assert words.snapshot()[0] == 2


def test_bell_rings_only_for_a_sleeper(segment):
    bell_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        bell = Bell(Words(map_segment(segment, mmap.PAGESIZE, writable=True), 0, 1), 0, bell_fd)
        assert not bell.toll()
        bell.lie_down()
        assert bell.toll()
        bell.rise()
        with pytest.raises(BlockingIOError):
            os.eventfd_read(bell_fd)
        assert not bell.toll()
    finally:
        os.close(bell_fd)


def test_work_does_not_wake_who_dozes_but_idleness_does(segment):
    bell_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        bell = Bell(Words(map_segment(segment, mmap.PAGESIZE, writable=True), 0, 1), 0, bell_fd)
        assert not bell.rouse()
        bell.lie_down(dozing=True)
        assert not bell.toll() and bell.rouse()
        assert os.eventfd_read(bell_fd) == 1
        bell.lie_down()
        assert not bell.rouse() and bell.toll()
        bell.rise()
        assert not bell.rouse() and not bell.toll()
    finally:
        os.close(bell_fd)


class BlocksMachine(RuleBasedStateMachine):
    """No block is lent twice, none overlaps another, all come back."""

    def __init__(self):
        super().__init__()
        self.blocks = Blocks(PLAN)
        self.held = {}

    @rule(length=st.integers(0, 5000))
    def take(self, length):
        block = self.blocks.take(length)
        fits = [i for i, (size, _) in enumerate(PLAN) if size >= length]
        if block < 0:
            free = [i for i in fits[:2] if self.free_in(i)]
            assert not free
            return
        assert block not in self.held
        assert self.blocks.capacity(block) >= length
        assert self.blocks.generation(block) > 0
        start = self.blocks.offset(block)
        assert self.blocks.block_at(start) == block and self.blocks.block_at(start + 1) == -1
        self.held[block] = (start, start + self.blocks.capacity(block))

    def free_in(self, size_class):
        size, count = PLAN[size_class]
        return count - sum(1 for block in self.held if self.blocks.capacity(block) == size)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give(self, data):
        block = data.draw(st.sampled_from(sorted(self.held)))
        generation = self.blocks.generation(block)
        self.blocks.give(block)
        del self.held[block]
        assert self.blocks.generation(block) == generation
        with pytest.raises(Corrupt):
            self.blocks.give(block)

    @rule()
    def reset(self):
        self.blocks.reset()
        self.held.clear()

    @invariant()
    def no_overlap(self):
        assert self.blocks.taken == len(self.held)
        spans = sorted(self.held.values())
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
        assert all(end <= self.blocks.total_bytes for _, end in spans)


TestBlocks = BlocksMachine.TestCase
TestBlocks.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_generation_changes_with_every_use():
    blocks = Blocks(((64, 1),))
    seen = set()
    for _ in range(5):
        seen.add(blocks.generation(blocks.take(1)))
        blocks.give(0)
    assert len(seen) == 5 and 0 not in seen


@given(steps=st.lists(st.tuples(st.integers(1, 9000), st.booleans()), max_size=60), seed=st.randoms())
@settings(deadline=None, max_examples=60)
def test_pages_given_back_hold_nothing_in_use(steps, seed):
    blocks = Blocks(((512, 200), (4096, 90), (12_288, 90)))
    fd = create("mixline-test", blocks.total_bytes)
    memory = map_segment(fd, blocks.total_bytes, writable=True)
    burst = [blocks.take(length) for length in (500, 4000, 12_000) for _ in range(70)]
    for block in burst:
        memory[blocks.offset(block)] = 1
    held = {}
    for length, keep in steps:
        block = blocks.take(length)
        if block < 0:
            continue
        at = blocks.offset(block)
        memory[at : at + length] = content = seed.randbytes(length)
        if keep:
            held[block] = content
        else:
            blocks.give(block)
    for block in burst:
        blocks.give(block)
    before = os.fstat(fd).st_blocks
    given_bytes = blocks.give_back(memory)
    assert given_bytes % mmap.PAGESIZE == 0 and os.fstat(fd).st_blocks <= before
    assert all(memory[blocks.offset(b) : blocks.offset(b) + len(c)] == c for b, c in held.items())
    memory.close()
    os.close(fd)


def test_a_burst_is_given_back_but_for_the_warm():
    blocks = Blocks(((4096, 500),))
    fd = create("mixline-test", blocks.total_bytes)
    memory = map_segment(fd, blocks.total_bytes, writable=True)
    burst = [blocks.take(1) for _ in range(500)]
    for block in burst:
        memory[blocks.offset(block)] = 1
    assert blocks.give_back(memory) == 0
    for block in burst:
        blocks.give(block)
    assert os.fstat(fd).st_blocks * 512 == 500 * 4096
    assert blocks.give_back(memory) == 436 * 4096
    assert os.fstat(fd).st_blocks * 512 == 64 * 4096
    assert blocks.give_back(memory) == 0
    with pytest.raises(IpcError, match="blocks of"):
        blocks.give_back(bytearray(100))
    memory.close()
    os.close(fd)


@pytest.mark.parametrize("plan", [(), ((63, 1),), ((64, 0),), ((128, 1), (64, 1)), ((64, 1), (64, 2)), ((64, 1),) * 17])
def test_bad_plans_are_refused(plan):
    with pytest.raises(IpcError):
        Blocks(plan)


def test_total_is_the_layout_of_the_blocks():
    assert seats.arena_total(PLAN) == Blocks(PLAN).total_bytes


@given(st.integers(0, 2**24 - 1), st.integers(1, 2**32 - 1), st.integers(0, 255))
def test_executing_word_is_unique_and_never_zero(slot, generation, attempt):
    word = seats.executing_word(slot, generation, attempt)
    assert 0 < word < 2**64
    assert (word >> 40, word >> 8 & 0xFFFFFFFF, word & 0xFF) == (slot, generation, attempt)


def test_seat_carries_both_ways_and_can_be_vacated():
    layout = seats.SeatLayout(8, 8)
    fds = [create("seat", layout.size), create("arena", mmap.PAGESIZE), os.eventfd(0, os.EFD_NONBLOCK)]
    try:
        worker = seats.WorkerSide(3, layout, fds[0], fds[2], fds[1], mmap.PAGESIZE)
        broker = seats.BrokerSide(3, layout, fds[0], fds[2], fds[1], mmap.PAGESIZE)
        message, got = Descriptor(), Descriptor()
        message.slot, message.generation, message.epoch = 5, 7, 2**63
        assert broker.work.push(message) and worker.work.pop(got)
        assert (got.slot, got.generation, got.epoch) == (5, 7, 2**63)
        worker.arena[:5] = b"hello"
        assert worker.done.push(got) and len(broker.done) == 1
        assert bytes(broker.arena[:5]) == b"hello" and broker.arena.readonly
        worker.words.store(seats.STATE, seats.READY)
        assert broker.state == seats.READY
        broker.vacate()
        assert broker.state == seats.VACANT
        assert not broker.done.pop(got) and broker.done.position == 0
    finally:
        for fd in fds:
            os.close(fd)


def test_board_is_written_by_one_and_read_by_all():
    fd, bell_fd = create("board", BOARD_BYTES), os.eventfd(0, os.EFD_NONBLOCK)
    readonly = reopen_readonly(fd)
    try:
        broker, worker = Board(fd, bell_fd, writable=True), Board(readonly, bell_fd, writable=False)
        broker.begin_life(4)
        broker.counters.add("requests", 9)
        broker.beat(77)
        assert (worker.life, worker.last_beat_ns) == (4, 77)
        assert worker.counters.get("requests") == worker.counters.as_dict()["requests"] == 9
        broker.bell.lie_down()
        assert worker.bell.toll()
        with pytest.raises(SegmentError):
            worker.begin_life(5)
    finally:
        for each in (fd, readonly, bell_fd):
            os.close(each)


def mapped_file_kb():
    """What this process maps of files, in KiB."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile:"))


def test_forgotten_code_runs_again():
    before = mapped_file_kb()
    assert forget_code() > 1 << 20
    assert mapped_file_kb() < before
    assert sorted(itertools.chain([3], [1, 2])) == [1, 2, 3] and Board is not None


ALONE = """
import os
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
from mixline.ipc.calls import forget_code

def mapped_kb():
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile:"))

before = np.linalg.inv(np.eye(3) * 4)
forget_code()
code = mapped_kb()
forget_code(data_too=True)
data = mapped_kb()
assert np.array_equal(np.linalg.inv(np.eye(3) * 4), before)
print(code, data)
"""


def test_forgotten_data_is_only_what_nobody_wrote():
    code, data = map(int, subprocess.check_output([sys.executable, "-c", ALONE]).split())
    assert data < code
