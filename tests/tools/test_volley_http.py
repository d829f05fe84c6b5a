"""The generator's HTTP side: keep-alive, waiting for a connection counts, and broken connections are failures."""

import time

import numpy as np
import pytest
from http_peer import HttpPeer, reply

from mixline.tools.flight import FAILED, UNANSWERED
from mixline.tools.volley import Volley
from mixline.tools.volley_http import HttpTransport

MS = 1_000_000


def requests(count=1):
    return [f"GET /{at} HTTP/1.1\r\nHost: test\r\n\r\n".encode() for at in range(count)]


def fly(peer, count, gap_ns=MS, connections=2, kinds=1, grace_s=2.0, **options):
    transport = HttpTransport(peer.address, requests(kinds), connections)
    try:
        return Volley(transport).open(
            np.arange(count, dtype=np.int64) * gap_ns, np.arange(count) % kinds, grace_s, **options
        )
    finally:
        transport.close()


def test_every_shot_gets_its_reply_over_kept_connections():
    with HttpPeer(lambda _number, path: reply(b"x" * 100 + path.encode())) as peer:
        flight = fly(peer, 200, kinds=5, keep_every=20)
        assert len(peer.open) == 2
    assert flight.counts == {200: 200} and flight.reconnects == 0 and (flight.reply_bytes == 102).all()
    assert flight.bodies == {shot: b"x" * 100 + b"/%d" % (shot % 5) for shot in range(0, 200, 20)}


def test_statuses_and_empty_and_large_bodies():
    bodies = [(b"", "200 OK"), (b"busy", "503 Service Unavailable"), (b"y" * 300_000, "200 OK")]
    with HttpPeer(lambda number, _path: reply(*bodies[number % 3])) as peer:
        flight = fly(peer, 30)
    assert flight.counts == {200: 20, 503: 10}
    assert sorted(set(flight.reply_bytes.tolist())) == [0, 4, 300_000]


def test_waiting_for_a_free_connection_counts():
    def slow(_number, _path):
        time.sleep(0.02)
        return reply(b"")

    with HttpPeer(slow) as peer:
        flight = fly(peer, 10, connections=1)
    assert flight.counts == {200: 10}
    # The last was due at 9 ms and nine others of 20 ms went first; the generator itself was not late by that.
    assert flight.latency_ns[9] >= 190 * MS
    assert np.median(flight.lateness_ns) < np.median(flight.latency_ns)


def test_a_connection_that_breaks_fails_its_shot_and_is_opened_again():
    with HttpPeer(lambda number, _path: None if number == 5 else reply(b"fine")) as peer:
        flight = fly(peer, 200, connections=1)
    assert flight.counts == {200: 199, FAILED: 1} and flight.reconnects == 1


def test_a_server_that_says_close_is_not_an_error():
    with HttpPeer(lambda _number, _path: reply(b"fine", extra="Connection: close\r\n")) as peer:
        flight = fly(peer, 20, connections=1)
    assert flight.counts == {200: 20} and flight.reconnects == 20


@pytest.mark.parametrize("broken", [b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0\r\n\r\n", b"z" * 20_000])
def test_replies_that_are_none_are_malformed(broken):
    with HttpPeer(lambda number, _path: broken if number % 2 else reply(b"fine")) as peer:
        flight = fly(peer, 10, connections=1)
    assert flight.counts == {200: 5, FAILED: 5} and flight.malformed == 5


def test_bytes_behind_a_reply_are_not_taken_for_the_next():
    with HttpPeer(lambda _number, _path: reply(b"fine") * 2) as peer:
        flight = fly(peer, 10, connections=1)
    assert flight.counts == {200: 10} and flight.doubled + flight.strangers == 10


def test_no_answer_at_all_ends_with_the_grace_and_harms_no_later_run():
    def answer(number, _path):
        if number < 2:
            time.sleep(0.5)
            return reply(b"late")
        return reply(b"fine")

    with HttpPeer(answer) as peer:
        transport = HttpTransport([peer.address], requests(), 2)
        volley = Volley(transport)
        which = np.zeros(5, np.uint32)
        first = volley.open(np.arange(5) * MS, which, grace_s=0.1)
        second = volley.open(np.arange(5) * MS, which, keep_every=1)
        transport.close()
    assert first.counts == {UNANSWERED: 5} and first.sent == 2
    assert second.counts == {200: 5} and set(second.bodies.values()) == {b"fine"}


def test_a_closed_loop_over_http():
    with HttpPeer(lambda _number, _path: reply(b"fine")) as peer:
        transport = HttpTransport(peer.address, requests(), 4)
        flight = Volley(transport).closed(np.zeros(1, np.uint32), in_flight=4, seconds=0.3)
        transport.close()
    assert flight.counts == {200: flight.sent} and flight.sent == peer.count and flight.pace > 0


def test_nobody_listens():
    with HttpPeer(lambda *_: None) as peer:
        address = peer.address
    with pytest.raises(ConnectionError, match=address):
        HttpTransport(address, requests())
