"""What people see of a page, and the load generator's account of a peer that answers late."""

import threading
import time

import numpy as np
import zmq
from click.testing import CliRunner

from mixline.ipc.wire import ReplyHeader, RequestHeader, Status
from mixline.node.page import Answer, Coverage, Page, encode_ids
from mixline.node.request import prepare
from mixline.tools.ask import as_id, show_page
from mixline.tools.cli import command
from mixline.tools.load import Load


def page_of(ids):
    """A page of two items."""
    answer = Answer(
        ids=encode_ids(ids),
        scores=np.array([2.5, 1.0], "<f4").tobytes(),
        sources=np.array([1, 3], "<u8").tobytes(),
        source_names=["taste", "popular"],
        coverage=[Coverage("taste", "source", "nearest", "degraded", "deadline", taken=2)],
        timing={},
        fields={"title": ["one\ttab", None]},
        explain=[{"terms": {"final": {"taste.score": 2.5}}}] * 2,
    )
    return Page(ReplyHeader(1, Status.DEGRADED, bytes(16), epoch=3), answer)


def test_a_piped_page_is_plain_lines(capsys):
    show_page("homefeed", page_of(np.array([7, 2**64 - 1], np.uint64)), explain=True, drawn=False)
    out = capsys.readouterr()
    lines = out.out.splitlines()
    assert lines[0] == "#\tid\ttitle\tscore\tsources"
    assert lines[1] == "1\t7\tone tab\t2.5\ttaste"
    assert lines[2] == "2\t18446744073709551615\t\t1\ttaste, popular"
    assert "final: taste.score 2.5" in out.out
    assert "taste: degraded: deadline" in out.err


def test_a_drawn_page_has_its_values(capsys):
    show_page("homefeed", page_of(["a", "é"]), drawn=True)
    out = capsys.readouterr().out
    assert "é" in out and "popular" in out


def test_ids_on_the_command_line():
    assert as_id("42") == 42 and as_id("str:42") == "42" and as_id("tt01") == "tt01" and as_id("-1") == "-1"


def test_every_verb_loads_and_explains_itself():
    from mixline.tools.cli import VERBS

    for verb in VERBS:
        done = CliRunner().invoke(command, [verb, "--help"])
        assert done.exit_code == 0, (verb, done.exception)
        assert "Usage" in done.output


class LatePeer(threading.Thread):
    """A ROUTER that answers the first request after a pause, so that all that came meanwhile are late."""

    def __init__(self, endpoint, pause_s):
        super().__init__()
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.bind(endpoint)
        self.pause_s, self.over = pause_s, threading.Event()

    def run(self):
        paused = False
        while not self.over.is_set():
            if not self.socket.poll(20):
                continue
            peer, header, _ = self.socket.recv_multipart()
            if not paused:
                time.sleep(self.pause_s)
                paused = True
            request = RequestHeader.unpack(header)
            self.socket.send_multipart([peer, ReplyHeader(1, Status.OK, request.request_id).pack(), b""])
        self.socket.close(linger=0)


def test_latency_counts_from_the_intended_send_time(tmp_path):
    """A stall of 0.4 s at 200/s delays 80 requests, not one: a closed loop would report only the first."""
    endpoint = f"ipc://{tmp_path}/peer.sock"
    peer = LatePeer(endpoint, 0.4)
    peer.start()
    load = Load(endpoint, [prepare("x")])
    try:
        report = load.open(rate=200, seconds=0.6)
    finally:
        load.close()
        peer.over.set()
        peer.join()
    assert report.statuses == {"OK": 120} and report.unanswered == 0 and report.sent == 120
    assert report.p50_us > 50_000
    assert report.p99_us > 300_000
