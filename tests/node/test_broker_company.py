"""Requests that want the same scan, or are short, go to an idle worker together, and nothing waits for company."""

import pytest
from broker_stage import Stage

from mixline.ipc import seats
from mixline.ipc.rings import Descriptor
from mixline.ipc.wire import Status
from mixline.node import limits


@pytest.fixture
def stage():
    return Stage(shares=True)


def held(stage):
    return [stage.places.held(seat) for seat in (0, 1, 2)]


def test_a_lone_request_runs_at_once_and_alone(stage):
    assert stage.ask(b"1")
    assert stage.running() == [0] and held(stage) == [1, 0, 0]


def test_what_waits_is_dealt_out_equally(stage):
    for at in range(10):
        assert stage.ask(b"%d" % at)
    stage.running()
    assert held(stage) == [5, 5, 0] and stage.loop.queue.count == 0


def test_nothing_parks_behind_a_busy_worker(stage):
    assert stage.ask(b"1") and stage.running() == [0]
    assert stage.ask(b"2") and stage.running() == [0, 1]
    for at in range(3, 6):
        assert stage.ask(b"%d" % at)
    stage.running()
    assert held(stage) == [1, 1, 0] and stage.loop.queue.count == 3
    stage.finish(0)
    stage.running()
    assert held(stage) == [2, 1, 0], "its half of three, and the other worker's half stays for it"
    stage.finish(1)
    stage.running()
    assert held(stage) == [2, 1, 0] and stage.loop.queue.count == 0


def test_of_other_surfaces_only_short_requests_go_together():
    """A few at a time, for which the worker comes and goes once; one by one while nobody knows what they take."""
    for took_us, budget_ms, many in ((0, 1000, 1), (300, 1000, 6), (300, 48, 3), (900, 1000, 2), (4000, 1000, 1)):
        stage = Stage(shares=False)
        for _ in range(100 if took_us else 0):
            stage.loop.surfaces.record(2, took_us * 1000)
        for at in range(30):
            assert stage.loop.ask(b"%d" % at, 1000 * budget_ms)
        stage.running()
        assert held(stage) == [many, many, 0] and stage.loop.queue.count == 30 - 2 * many, (took_us, budget_ms)


def test_nor_does_any_scan_where_the_node_says_so(stage):
    stage.loop.sharing = False
    for at in range(10):
        assert stage.ask(b"%d" % at)
    stage.running()
    assert held(stage) == [1, 1, 0] and stage.loop.queue.count == 8


def test_company_ends_where_it_costs_more_than_the_first_can_bear(stage):
    number = stage.loop.surfaces.announce("a", 1000, True)
    for _ in range(200):
        stage.loop.surfaces.record(number, 100_000_000)  # 100 ms each, of which 50 may be read once for all
    stage.running()  # the queue is seen empty, so what comes now is a burst
    for at in range(8):
        assert stage.loop.ask(b"%d" % at, 700_000)
    stage.running()
    assert held(stage) == [2, 2, 0] and stage.loop.queue.count == 4


def test_all_replies_come_and_nobody_is_left(stage):
    for at in range(9):
        assert stage.ask(b"%d" % at)
    while seat := stage.running():
        stage.finish(seat[0])
    assert stage.count(Status.OK) == 9 and stage.loop.waiting == 0


def die_in_a_pass(stage, seat):
    """A worker takes all it was given and dies while all of them have a share in what it does."""
    got = Descriptor()
    while stage.workers[seat].work.pop(got):
        pass
    stage.workers[seat].words.store(seats.EXECUTING, seats.EXECUTING_ALL)
    stage.alive.remove(seat)
    stage.rank()
    stage.loop.bury(seat, True)
    stage.workers[seat].words.store(seats.EXECUTING, 0)


def test_a_death_in_a_shared_pass_is_charged_to_all_and_each_runs_once_more_alone(stage):
    for at in range(4):
        assert stage.ask(b"%d" % at)
    stage.running()
    assert held(stage) == [2, 2, 0]
    die_in_a_pass(stage, 0)
    assert stage.running() == [1, 2] and held(stage) == [0, 2, 1]
    stage.finish(2)
    assert held(stage) == [0, 2, 1]
    stage.running()
    assert held(stage) == [0, 2, 1] and stage.count(Status.OK) == 1, "the second runs after the first"
    stage.finish(2)
    stage.finish(1)
    stage.finish(1)
    assert stage.running() == [] and stage.count(Status.OK) == 4


def test_a_death_at_one_request_is_charged_to_it_alone(stage):
    for at in range(4):
        assert stage.ask(b"%d" % at)
    stage.running()
    stage.die(0)
    assert stage.loop.quarantine.count == 1


def test_no_company_while_something_kills(stage):
    stage.loop.quarantine.note(7, 1 << 62)
    for at in range(10):
        assert stage.ask(b"%d" % at)
    stage.running()
    assert max(held(stage)) == 1


def test_a_worker_holds_no_more_than_its_ring(stage):
    for at in range(300):
        assert stage.ask(b"%d" % at)
    stage.running()
    assert held(stage) == [limits.held_max, limits.held_max, 0]
