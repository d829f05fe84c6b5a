"""The compiled generator against peers that lose, double, delay and forge: every shot is settled once or unanswered."""

import threading
import time

import numpy as np
import pytest
import zmq

from mixline.ipc.wire import Kind, ReplyHeader, RequestHeader, Status
from mixline.tools.flight import FAILED, UNANSWERED
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

MS = 1_000_000


class Router(threading.Thread):
    """A ROUTER whose answers to the n-th request are made by ``answer(n, request header, body)``: a list of frames."""

    def __init__(self, endpoint, answer):
        super().__init__()
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.bind(endpoint)
        self.answer, self.over, self.seen = answer, threading.Event(), []

    def run(self):
        while not self.over.is_set():
            if not self.socket.poll(20):
                continue
            peer, header, body = self.socket.recv_multipart()
            request = RequestHeader.unpack(header)
            self.seen.append((request, body))
            for frames in self.answer(len(self.seen) - 1, request, body):
                self.socket.send_multipart([peer, *frames])
        self.socket.close(linger=0)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.join()


def reply(request, status=Status.OK, body=b"", number=None, **more):
    request_id = request.request_id if number is None else number.to_bytes(16, "little")
    return [ReplyHeader(request.kind, status, request_id, **more).pack(), body]


@pytest.fixture
def endpoint(tmp_path):
    return f"ipc://{tmp_path}/peer.sock"


def frames(count=1):
    return [(RequestHeader(Kind.ECHO, bytes(range(16)), budget_us=at).pack(), b"body %d" % at) for at in range(count)]


def evenly(count, gap_ns=MS):
    return np.arange(count, dtype=np.int64) * gap_ns


def fly(transport, due_ns, which=None, grace_s=2.0, expect=None, **options):
    which = np.zeros(len(due_ns), np.uint32) if which is None else which
    try:
        return Volley(transport, expect).open(due_ns, which, grace_s, **options)
    finally:
        transport.close()


@pytest.mark.parametrize("connections", [1, 3])
def test_every_shot_gets_its_own_reply(endpoint, connections):
    def echo(_number, request, body):
        return [reply(request, body=body * 3, attempt=2)]

    which = np.arange(300) % 7
    with Router(endpoint, echo) as peer:
        flight = fly(ZmqTransport(endpoint, frames(7), connections), evenly(300, MS // 4), which, keep_every=50)
    assert flight.counts == {0: 300} and flight.sent == 300
    assert flight.doubled == flight.strangers == flight.malformed == flight.wrong == 0
    assert (flight.reply_bytes == 18).all() and (flight.attempt == 2).all()
    assert flight.bodies == {shot: b"body %d" % (shot % 7) * 3 for shot in range(0, 300, 50)}
    # The header goes as prepared but for its id, which no other shot has.
    assert sorted(request.budget_us for request, _ in peer.seen) == sorted(which.tolist())
    assert len({request.request_id for request, _ in peer.seen}) == 300


def test_lost_doubled_forged_and_broken_replies_are_told_apart(endpoint):
    def answer(number, request, body):
        good = reply(request)
        forged, torn, high = reply(request, number=10**15), [good[0][:40], b""], reply(request, number=1 << 100)
        return [[], [good, good], [forged], [torn], [good], [high], [good, [*good, b"more"]]][number % 7]

    with Router(endpoint, answer):
        flight = fly(ZmqTransport(endpoint, frames()), evenly(70), grace_s=0.3)
    assert flight.counts == {0: 30, UNANSWERED: 40} and flight.unanswered == 40
    assert (flight.doubled, flight.strangers, flight.malformed) == (10, 20, 20)
    assert flight.wall_ns >= 69 * MS + 300 * MS


def test_statuses_are_kept_apart(endpoint):
    def answer(number, request, _body):
        return [reply(request, (Status.OK, Status.OVERLOADED, Status.TIMEOUT)[number % 3])]

    with Router(endpoint, answer):
        flight = fly(ZmqTransport(endpoint, frames()), evenly(30))
    assert flight.counts == {0: 10, Status.OVERLOADED.code: 10, Status.TIMEOUT.code: 10}
    assert len(flight.latency_us(0)) == 10 and len(flight.latency_us(0, 5)) == 20


def test_a_stall_counts_from_when_each_shot_was_due(endpoint):
    """A peer that sleeps 300 ms once delays every shot that was due meanwhile, not one."""

    def answer(number, request, _body):
        if number == 0:
            time.sleep(0.3)
        return [reply(request)]

    with Router(endpoint, answer):
        flight = fly(ZmqTransport(endpoint, frames()), evenly(100, 2 * MS))
    assert flight.counts == {0: 100}
    assert (flight.latency_ns >= 300 * MS - flight.due_ns).all()
    assert flight.latency_ns[50] > 190 * MS


def test_no_shot_leaves_before_its_time(endpoint):
    arrived = []

    def answer(_number, request, _body):
        arrived.append((int.from_bytes(request.request_id, "little"), time.monotonic_ns()))
        return [reply(request)]

    due_ns = np.array([0, 0, 40, 90, 90, 91, 200]) * MS
    started = time.monotonic_ns()
    with Router(endpoint, answer):
        flight = fly(ZmqTransport(endpoint, frames()), due_ns)
    assert [at for at, _ in arrived] == list(range(1, 8))
    for (_, at), due in zip(arrived, due_ns, strict=True):
        assert at - started >= due
    assert (flight.lateness_ns >= 0).all() and flight.lateness_p99_us < 1e6
    assert flight.cost()["bottleneck"] == flight.bottleneck


def test_a_reply_of_an_earlier_run_is_a_stranger(endpoint):
    held = []

    def answer(_number, request, _body):
        held.append(reply(request))
        return [held.pop(0)] if len(held) > 5 else []

    with Router(endpoint, answer):
        volley = Volley(transport := ZmqTransport(endpoint, frames()))
        first = volley.open(evenly(10), np.zeros(10, np.uint32), grace_s=0.2)
        second = volley.open(evenly(10), np.zeros(10, np.uint32), grace_s=0.2)
        transport.close()
    assert first.counts == {0: 5, UNANSWERED: 5} and first.strangers == 0
    assert second.counts == {0: 5, UNANSWERED: 5} and second.strangers == 5


def test_answers_are_checked_against_what_they_must_contain(endpoint):
    def answer(number, request, body):
        return [reply(request, body=b"<" + body + b"> and 42" if number % 2 else b"body 1 and 41")]

    with Router(endpoint, answer):
        flight = fly(
            ZmqTransport(endpoint, frames(2)), evenly(20), np.arange(20) % 2, expect=[[b"body 0"], [b"body 1", b"42"]]
        )
    assert flight.counts == {0: 20} and flight.wrong == 10


def test_a_closed_loop_keeps_so_many_in_flight(endpoint):
    def answer(_number, request, _body):
        time.sleep(0.001)
        return [reply(request)]

    with Router(endpoint, answer) as peer:
        volley = Volley(transport := ZmqTransport(endpoint, frames()))
        flight = volley.closed(np.zeros(1, np.uint32), in_flight=8, seconds=0.5)
        transport.close()
    assert flight.counts == {0: flight.sent} and flight.sent == len(peer.seen)
    assert 0 < flight.pace <= 1000
    assert flight.sent - flight.window_done <= 8
    assert np.median(flight.latency_ns) > 7 * MS  # seven others are answered first


def test_a_closed_loop_ends_when_nothing_comes(endpoint):
    with Router(endpoint, lambda *_: []):
        volley = Volley(transport := ZmqTransport(endpoint, frames()))
        flight = volley.closed(np.zeros(1, np.uint32), in_flight=4, seconds=0.1, grace_s=0.1)
        transport.close()
    assert flight.counts == {UNANSWERED: 4} and flight.pace == 0


def test_the_generator_says_when_it_was_the_bottleneck(endpoint):
    with Router(endpoint, lambda _number, request, _body: [reply(request)]):
        flight = fly(ZmqTransport(endpoint, frames()), evenly(50))
    late = flight._replace(lateness_ns=np.full(50, 3 * MS))
    assert "3.0 ms late" in late.bottleneck
    busy = flight._replace(lateness_ns=np.zeros(50), busiest_cpu_ns=flight.wall_ns)
    assert "100% of a core" in busy.bottleneck
    assert not flight._replace(lateness_ns=np.zeros(50), busiest_cpu_ns=0).bottleneck


def test_what_cannot_be_run_is_refused(endpoint):
    with pytest.raises(ValueError, match="header has 3 bytes"):
        ZmqTransport(endpoint, [(b"abc", b"")])
    with pytest.raises(ValueError, match="at least one"):
        ZmqTransport(endpoint, [])
    transport = ZmqTransport(endpoint, frames())
    volley = Volley(transport)
    with pytest.raises(ValueError, match="ascend"):
        volley.open(np.array([5, 3]), np.zeros(2, np.uint32))
    with pytest.raises(ValueError, match="1 of 1 prepared"):
        volley.open(np.array([5]), np.ones(1, np.uint32))
    with pytest.raises(ValueError, match="as many"):
        volley.open(np.array([5, 6]), np.zeros(1, np.uint32))
    with pytest.raises(ValueError, match="2 lists for 1"):
        Volley(transport, expect=[[], []])
    transport.close()
    with pytest.raises(ValueError, match="closed"):
        volley.open(np.array([5]), np.zeros(1, np.uint32))
    assert FAILED != UNANSWERED
