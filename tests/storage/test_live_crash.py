"""kill -9 in mid-transaction: nothing acknowledged is lost, nothing is applied twice, and all of it reads back."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from build_case import build, write_table
from live_child import ITEMS, batch

from mixline.storage.errors import UnknownId
from mixline.storage.live_paths import overlay_folder
from mixline.storage.live_view import LiveReader
from mixline.storage.live_writer import Ack, LiveWriter
from mixline.storage.store import Store

SPEC = """
[items]
path = "items.csv"
id = "id"
columns = { size = "f32" }
[spaces.taste]
items = "items.npy"
"""


def build_store(folder):
    write_table(folder / "items.csv", {"id": list(range(ITEMS)), "size": [float(at) for at in range(ITEMS)]})
    np.save(folder / "items.npy", np.eye(ITEMS, 8, dtype=np.float32))
    (folder / "spec.toml").write_text(SPEC)
    build(folder / "spec.toml", folder / "store")
    return folder / "store"


def run_and_kill(store, number, many, delay_s):
    """Batches acknowledged from ``number`` on before the child was killed, a moment after it had said so many."""
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("live_child.py")), str(store), str(number)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    first = [child.stdout.readline() for _ in range(many)]
    time.sleep(delay_s)
    child.kill()
    lines = ("".join(first) + child.stdout.read()).split("\n")
    child.wait()
    child.stdout.close()
    return [int(line) for line in lines[:-1]]


def check(store, acknowledged):
    """Whatever was acknowledged is there once; the one batch in hand may be, too. Returns the next batch's number."""
    with Store(store).open(grows=True) as epoch:
        writer = LiveWriter(store, [epoch], now=lambda: 0)
        try:
            applied = 0 if writer.log.last == 0 else writer.log.written("child").sequence + 1
            assert acknowledged <= applied <= acknowledged + 1
            if applied:
                (again,) = writer.apply([batch(applied - 1)])
                assert isinstance(again, Ack) and again.repeated
            view = LiveReader(epoch, overlay_folder(store, epoch.number)).view()
            assert view is not None or not applied
            if applied:
                look(view, epoch, applied)
        finally:
            writer.close()
    return applied


def look(view, epoch, applied):
    assert view.live_seq == 4 * applied + max(0, applied - 10)
    for number in range(max(0, applied - 30), applied):
        one = 10_000 + number
        if number < applied - 10:
            with pytest.raises(UnknownId):
                view.item_row(one)
        else:
            row = view.item_row(one)
            assert (
                epoch.items.columns["size"].values[row] == number + 0.5
                and epoch.items.record(row)["size"] == number + 0.5
            )
    for user in range(7):
        expected = [n for n in range(applied) for who in (n % 7, n % 5) if who == user]
        times = view.events(view.row_of(epoch.users, user))["time"] if expected else np.zeros(0)
        assert times.tolist() == expected[::-1]


@pytest.mark.parametrize(
    "kills", [6, pytest.param(500, marks=[pytest.mark.stress, pytest.mark.timeout(900)])], ids=["few", "many"]
)
def test_a_writer_killed_at_any_moment(tmp_path, kills):
    store, rng, number = build_store(tmp_path), random.Random(11), 0
    for _ in range(kills):
        got = run_and_kill(store, number, rng.randint(1, 6), rng.uniform(0, 0.006))
        assert got == list(range(number, number + len(got)))
        number = check(store, number + len(got))
    assert number >= kills
