"""What the broker does about requests that kill, rule by rule: it runs on a probe, and the test plays the workers."""

import time

import pytest
from broker_stage import Stage

from mixline.ipc.wire import Status
from mixline.node import limits


@pytest.fixture
def stage():
    return Stage()


def kill_with(stage, body):
    """A first copy kills the worker that runs it; the seat that is left without one."""
    assert stage.ask(body)
    (seat,) = stage.running()
    stage.die(seat)
    return seat


def test_second_attempt_waits_until_another_worker_is_ready(stage):
    kill_with(stage, b"poison")
    stage.alive.remove(stage.alive[-1])
    stage.rank()  # one left
    assert stage.running() == [] and stage.loop.set_aside == 1
    stage.come(2)
    assert len(stage.running()) == 1 and stage.loop.set_aside == 0


def test_the_standby_is_another_worker(stage):
    stage.alive = [0, 1]
    stage.places.activate([0], [1])
    assert stage.ask(b"poison") and stage.running() == [0]
    stage.die(0)
    stage.alive = [1, 2]
    stage.places.activate([1], [2])
    assert stage.running() == [1]


def test_second_death_is_poison_and_copies_are_refused(stage):
    kill_with(stage, b"poison")
    (seat,) = stage.running()
    stage.die(seat)
    assert stage.count(Status.POISON) == 1 and stage.loop.waiting == 0
    assert not stage.ask(b"poison") and stage.count(Status.POISON) == 2


def test_copies_wait_outside_until_the_first_is_judged(stage):
    kill_with(stage, b"poison")
    assert not stage.ask(b"poison") and stage.count(Status.OVERLOADED) == 1
    (seat,) = stage.running()
    assert not stage.ask(b"poison")
    stage.finish(seat)
    assert stage.running() == [] and stage.count(Status.OK) == 1
    assert stage.ask(b"poison"), "acquitted"


def test_copies_that_were_let_in_before_are_refused_when_their_turn_comes(stage):
    assert stage.ask(b"poison")
    (seat,) = stage.running()
    stage.places.activate([], [])
    assert stage.ask(b"poison") and stage.ask(b"poison")
    stage.die(seat)
    stage.running()
    assert stage.count(Status.OVERLOADED) == 2 and stage.loop.waiting == 1


def test_twins_that_killed_a_worker_each_are_not_tried_again(stage):
    assert stage.ask(b"poison") and stage.ask(b"poison")
    first, second = stage.running()
    stage.die(first)
    stage.die(second)
    stage.come(0)
    stage.come(1)
    assert stage.running() == []
    assert stage.count(Status.POISON) == 2 and stage.loop.waiting == 0


def test_only_one_risky_run_is_under_way(stage):
    kill_with(stage, b"one")
    stage.come(0)
    assert stage.ask(b"two") and stage.ask(b"three")
    assert len(stage.running()) == 1 and stage.loop.set_aside == 2
    for left in (1, 0):
        (seat,) = stage.running()
        stage.finish(seat)
        assert len(stage.running()) == 1 and stage.loop.set_aside == left


def test_what_is_known_to_be_good_runs_beside_it_and_on_the_last_worker(stage):
    assert stage.ask(b"good")
    (seat,) = stage.running()
    stage.finish(seat)
    stage.running()
    kill_with(stage, b"poison")
    assert stage.ask(b"good")
    assert len(stage.running()) == 2
    while len(stage.alive) > 1:
        stage.die(stage.running()[0])
    stage.running()
    assert stage.ask(b"good") or stage.loop.waiting
    assert stage.running() == stage.alive


def test_unknown_requests_wait_aside_and_hold_nobody_up(stage):
    assert stage.ask(b"good")
    stage.finish(*stage.running())
    stage.running()
    kill_with(stage, b"poison")
    del stage.alive[1:]
    stage.rank()
    assert stage.ask(b"unknown") and stage.ask(b"good")
    assert stage.running() == stage.alive and stage.loop.set_aside == 2  # the second attempt and the unknown one
    assert stage.execute(stage.alive[0]).attempt == 1


def test_care_ends_and_unknown_requests_run_anywhere(stage):
    kill_with(stage, b"poison")
    del stage.alive[1:]
    stage.rank()
    assert stage.ask(b"unknown") and stage.running() == []
    end = time.monotonic() + 10
    while not stage.running():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert stage.loop.set_aside == 1, "the second attempt still waits for another worker"


def test_a_suspect_that_is_not_judged_in_time_stays_watched(stage):
    assert stage.loop.ask(b"poison", 60_000)
    stage.die(*stage.running())
    del stage.alive[1:]
    stage.rank()
    stage.running()
    time.sleep(0.08)
    stage.running()
    assert stage.count(Status.TIMEOUT) == 1 and stage.loop.set_aside == stage.loop.waiting == 0
    time.sleep(limits.careful_ms / 1000)
    assert stage.ask(b"poison") and stage.running() == [] and stage.loop.set_aside == 1, "the next copy is on trial"
    assert not stage.ask(b"poison"), "and the only one"
    stage.come(2)
    (seat,) = stage.running()
    stage.die(seat)
    stage.come(1)
    assert stage.running() == [] and stage.count(Status.POISON) == 1, "two deaths of its bytes, one of its own"


def test_a_killed_worker_condemns_nobody(stage):
    assert stage.ask(b"ask")
    stage.die(*stage.running(), crash=False)
    assert stage.ask(b"ask") and len(stage.running()) == 2, "no care, and copies run"
    for seat in stage.running():
        stage.finish(seat)
    stage.running()
    assert stage.count(Status.OK) == 2 and stage.loop.quarantine.count == 0


def test_second_death_by_a_kill_is_a_lost_worker(stage):
    assert stage.ask(b"ask")
    stage.die(*stage.running(), crash=False)
    stage.come(0)
    stage.die(*stage.running(), crash=False)
    assert stage.count(Status.WORKER_LOST) == 1 and stage.loop.waiting == 0


def test_what_merely_waited_is_not_charged(stage):
    assert stage.ask(b"ask")
    (seat,) = stage.running()
    stage.alive.remove(seat)
    stage.rank()
    stage.loop.bury(seat, True)  # it had not begun
    assert stage.loop.quarantine.count == 0 and len(stage.running()) == 1
    assert stage.execute(stage.running()[0]).attempt == 2
