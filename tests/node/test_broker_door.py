"""How long a wait the door lets in: most of the budget in a burst, little once the queue stands or many are refused."""

import time

import pytest
from broker_stage import Stage

from mixline.ipc.wire import Status
from mixline.node import limits

SERVICE_NS = 100_000_000
BUDGET_US = 1_500_000
STANDING_S = limits.queue_standing_ms / 1000
CALM_S = limits.wait_share_calm * BUDGET_US / 1e6
PASS_S = SERVICE_NS / 1e9  # of which half may be what is read once, while passes are all of one size
BURST = 25  # fewer than a burst may bring: .6 of 1.4 s, at 50 ms each, for two workers
STEADY = 20  # more than a standing queue may hold: three tenths of 1.4 s
PRESSED = 6  # more than is let in while many are refused: .05 of the budget, or most of a pass
OVERSTAYED_S = 1.2 * limits.overstayed_times * max(limits.wait_share_pressed * BUDGET_US / 1e6, PASS_S)


def learn(stage):
    """What a pass of one takes."""
    number = stage.loop.surfaces.announce("a", 1000, True)
    for _ in range(200):
        stage.loop.surfaces.record(number, SERVICE_NS)


@pytest.fixture
def stage():
    """Two workers, both of them busy."""
    stage = Stage(shares=True)
    learn(stage)
    stage.running()
    for seats in ([0], [0, 1]):
        assert ask(stage) and stage.running() == seats
    return stage


def ask(stage):
    return stage.loop.ask(b"x", BUDGET_US)


def let_in(stage):
    """How many of many that come at once are let in."""
    return sum(ask(stage) for _ in range(60))


def test_a_burst_may_fill_most_of_the_budget():
    stage = Stage(shares=True)
    learn(stage)
    stage.running()
    assert BURST < let_in(stage) < 60


def test_one_stall_of_the_machine_does_not_shut_the_door():
    stage = Stage(shares=False)
    number = stage.loop.surfaces.announce("a", 1000, False)
    for _ in range(200):
        stage.loop.surfaces.note_pass(number, 2_000_000, 4)
    stage.running()
    stage.loop.surfaces.note_pass(number, 60_000_000, 4)
    came_meanwhile = [stage.loop.ask(b"x", 100_000) for _ in range(100)]  # 25 ms of work for two workers
    assert all(came_meanwhile)


def test_a_standing_queue_may_not(stage):
    time.sleep(STANDING_S * 1.2)
    stage.running()
    assert 0 < let_in(stage) < STEADY


def test_a_queue_stands_though_one_pass_takes_it_whole(stage):
    assert ask(stage)
    time.sleep(max(STANDING_S, CALM_S, PASS_S) * 1.2)  # it has waited more than little
    stage.finish(0)
    stage.running()
    assert stage.loop.queue.count == 0 and stage.places.held(0) == 1
    assert 0 < let_in(stage) < STEADY


def test_calm_is_believed_after_a_while(stage):
    time.sleep(STANDING_S * 1.2)
    assert 0 < let_in(stage) < STEADY
    drain(stage)
    again = let_in(stage)
    drain(stage)
    time.sleep(limits.queue_stood_ms / 1000 * 1.2)
    assert again < BURST < let_in(stage)


def drain(stage):
    while busy := stage.running():
        stage.finish(busy[0])
    learn(stage)  # these were done at once


def test_many_refusals_are_overload_though_no_queue_stood():
    stage = Stage(shares=True)
    learn(stage)
    stage.running()
    assert let_in(stage) > BURST
    drain(stage)
    assert 0 < let_in(stage) < PRESSED
    drain(stage)
    time.sleep(limits.queue_stood_ms / 1000 * 1.2)
    assert let_in(stage) > BURST


def test_a_few_refusals_are_not():
    stage = Stage(shares=True)
    learn(stage)
    stage.running()
    while ask(stage):
        pass
    drain(stage)
    assert let_in(stage) > BURST


def test_a_quiet_node_takes_a_burst(stage):
    for seat in (0, 1):
        stage.finish(seat)
    assert stage.running() == []
    time.sleep(STANDING_S * 1.2)
    assert let_in(stage) > BURST


def test_a_pass_whose_first_has_waited_little_is_no_overload(stage):
    time.sleep(max(STANDING_S, CALM_S, PASS_S) * 1.2)
    assert ask(stage)
    stage.finish(0)
    assert stage.running() == [0, 1]
    assert let_in(stage) > BURST - 4, "less than to idle workers, for they have work"


def crowd(stage):
    """Many came, of whom many were refused; how many wait."""
    assert let_in(stage) > 4
    return stage.loop.queue.count


def test_who_overstayed_makes_room_for_those_who_come(stage):
    waiting, refused = crowd(stage), stage.count(Status.OVERLOADED)
    time.sleep(OVERSTAYED_S)
    came = ask(stage)
    assert stage.running() == [0, 1] and stage.loop.queue.count == came
    assert stage.count(Status.OVERLOADED) == refused + waiting + (not came)
    assert ask(stage), "there is room"


def test_a_burst_is_served_though_it_waits(stage):
    waiting, refused = crowd(stage), stage.count(Status.OVERLOADED)
    time.sleep(OVERSTAYED_S)
    drain(stage)
    assert stage.count(Status.OVERLOADED) == refused and stage.count(Status.OK) == waiting + 2


def test_a_door_learns_that_waits_are_longer_than_it_reckons():
    stage = Stage(shares=True)
    number = stage.loop.surfaces.announce("a", 1000, True)
    for _ in range(200):
        stage.loop.surfaces.record(number, SERVICE_NS // 10)
    stage.running()
    for _ in range(10):
        assert ask(stage)
    reckoned_s = 10 * SERVICE_NS / 10 / 2 / 1e9
    time.sleep(3 * reckoned_s)
    drain(stage)
    other = Stage(shares=True)
    learn(other)
    other.running()
    assert 0 < let_in(stage) < 0.7 * let_in(other)
