"""What a node writes by itself: waited for or queued, tried again, and counted where it is lost."""

import threading

import pytest

from mixline.node import own_writes
from mixline.node.errors import BadRequest, NotReady, Overloaded
from mixline.node.own_writes import OwnWrites, reachable
from mixline.node.updates import Acknowledged


class Writer:
    """Takes batches, or fails so often first."""

    def __init__(self, failures=()):
        self.failures, self.batches, self.closed = list(failures), [], 0
        self.gate = threading.Event()
        self.gate.set()

    def apply(self, operations, **named):
        self.gate.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(([*operations], named))
        return Acknowledged(1, len(self.batches), "sync", False, [])

    def close(self):
        self.closed += 1


def test_what_a_reply_depends_on_is_waited_for_under_its_name():
    writer = Writer()
    writes = OwnWrites(lambda: writer)
    assert writes.now("ask.1", 2, [{"op": "reserve"}], 50.0).live_seq == 1
    assert writer.batches == [([{"op": "reserve"}], {"client": "ask.1", "sequence": 2, "deadline_ms": 50.0})]
    writes.now("ask.2", 1, [], -5.0)
    assert writer.batches[1][1]["deadline_ms"] == 1.0
    writes.close()
    assert writer.closed == 1


def test_what_follows_replies_is_written_together_and_again_while_the_writer_is_replaced(monkeypatch):
    monkeypatch.setattr(own_writes, "PAUSE_S", 0.001)
    writer = Writer([NotReady("no writer", 0), NotReady("no writer", 0)])
    writer.gate.clear()
    writes = OwnWrites(lambda: writer)
    for at in range(1300):
        writes.later({"op": "events", "at": at})
    writer.gate.set()
    writes.close()
    written = [one["at"] for batch, _ in writer.batches for one in batch]
    assert written == list(range(1300)) and len(writer.batches) <= 5
    assert (writes.lost, writer.closed) == (0, 1)


def test_what_follows_is_written_whatever_went_wrong_before(monkeypatch):
    monkeypatch.setattr(own_writes, "TOGETHER", 1)
    writer = Writer([ValueError("odd"), OSError("gone")])
    refusals = [RuntimeError("the store is locked")]

    def opened():
        if refusals:
            raise refusals.pop()
        return writer

    writes = OwnWrites(opened)
    for at in range(5):
        writes.later({"op": "events", "at": at})
    writes.close()
    assert [batch for batch, _ in writer.batches] == [[{"op": "events", "at": at}] for at in (3, 4)]
    assert (writes.lost, writer.closed) == (3, 1)


def test_what_is_refused_is_counted_and_what_is_too_much_is_said(monkeypatch):
    monkeypatch.setattr(own_writes, "AGAIN_S", 0.0)
    writer = Writer([BadRequest("no such user"), NotReady("gone", 0)])
    writes = OwnWrites(lambda: writer)
    writes.later({"op": "events"})
    writes.close()
    writes.later({"op": "events"})
    writes.close()
    assert writes.lost == 2 and not writer.batches
    monkeypatch.setattr(own_writes, "QUEUED_MAX", 3)
    stuck = Writer()
    stuck.gate.clear()
    writes = OwnWrites(lambda: stuck)
    with pytest.raises(Overloaded, match="wait for the writer"):
        for _ in range(5000):
            writes.later({"op": "events"})
    stuck.gate.set()
    writes.close()


class Told:
    port = 4711


@pytest.mark.parametrize(
    ("bind", "endpoint"),
    [
        (["tcp://127.0.0.1:0", "ipc:///run/a.sock"], "ipc:///run/a.sock"),
        (["tcp://127.0.0.1:5571"], "tcp://127.0.0.1:5571"),
        (["tcp://127.0.0.2:0"], "tcp://127.0.0.2:4711"),
    ],
)
def test_a_node_reaches_its_own_door(bind, endpoint):
    assert reachable(bind, Told()) == endpoint
