"""The quality factor: falls under load, comes back, and is the same for every process."""

import itertools
import os

import pytest
from film_store import write_config
from node_process import running, wait_until

from mixline.ipc.board import BOARD_BYTES, QUALITY, Board
from mixline.ipc.segments import create
from mixline.node import Client, limits
from mixline.node.broker_quality import after
from mixline.node.readings import MeterReader

SLOW = """
deadline_ms = 2000
[params.most]
type = "int"
min = 1
max = 200
default = 100
least = 10
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
limit = "$most"
[[filter]]
kind = "odd_components.SlowFilter"
[[selector]]
kind = "topk"
by = "taste.score"
"""


def test_it_falls_smoothly_and_comes_back():
    value, seen = 1.0, []
    for pressure in [5.0] * 12 + [0.6] * 5 + [0.1] * 60:
        value = after(value, pressure)
        seen.append(value)
    assert seen[:12] == sorted(seen[:12], reverse=True) and seen[11] == 0.0
    assert len(set(seen[11:17])) == 1, "between the two it stands still"
    assert seen[17:] == sorted(seen[17:]) and seen[-1] == 1.0
    steps = [abs(a - b) for a, b in itertools.pairwise(seen)]
    assert max(steps) <= limits.quality_fall + 1e-9
    assert after(0.5, 1.05) > after(0.5, 1.5) > after(0.5, 3.0)


def test_the_board_says_one_before_anybody_did():
    fd = create("mixline-test-board", BOARD_BYTES)
    board = Board(fd, -1, writable=True)
    assert board.quality == 1.0
    for value, told in ((0.0, 1), (0.5, 501), (1.0, 1001)):
        board.words.store(QUALITY, told)
        assert board.quality == value
    os.close(fd)


@pytest.mark.parametrize("workers", [2])
def test_a_pressed_node_does_less_and_recovers(film_store, tmp_path, workers):
    config = write_config(tmp_path, slow=SLOW)
    serve = ["--config", config]
    with running(tmp_path, store=film_store, workers=workers, serve=serve) as node, Client(node.endpoint) as client:
        reader = MeterReader.open(node.info()["meters"])
        assert client.ask("slow", user=1).quality == 1.0
        pages = client.ask_many([{"surface": "slow", "user": at % 39} for at in range(600)])
        answered = [page for page in pages if not isinstance(page, Exception)]
        shrunk = [page for page in answered if page.quality < 1.0]
        assert shrunk and all(str(page.status) == "DEGRADED" for page in shrunk)
        took = {page.quality: page.coverage[0].taken for page in answered}
        assert all(taken == round(10 + 90 * quality) for quality, taken in took.items())
        wait_until(lambda: reader.board.quality == 1.0)
        wait_until(lambda: client.ask("slow", user=1).quality == 1.0)
