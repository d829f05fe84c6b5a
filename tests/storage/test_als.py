"""Learnt spaces: the same input gives the same vectors, they tell tastes apart, and the stated memory need holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from build_case import build, write_table

from mixline.storage.als import need_bytes
from mixline.storage.dump import dump
from mixline.storage.store import Store

pytest.importorskip("implicit", reason="the extra mixline[als] is not installed")


def write_two_tastes(folder: Path) -> Path:
    """Forty users of which the even ones like even items; one item and one user without any event."""
    folder.mkdir()
    rng = np.random.default_rng(8)
    write_table(folder / "items.parquet", {"item": list(range(21))})
    write_table(folder / "users.parquet", {"user": list(range(41))})
    who = rng.integers(0, 40, 400)
    what = 2 * rng.integers(0, 10, 400) + who % 2
    write_table(folder / "events.parquet", {"user": who.tolist(), "item": what.tolist()})
    spec = folder / "spec.toml"
    spec.write_text(
        """
[items]
path = "items.parquet"
id = "item"
[users]
path = "users.parquet"
id = "user"
[events]
path = "events.parquet"
user = "user"
item = "item"
[spaces.taste]
learn = "als"
dim = 4
seed = 3
"""
    )
    return spec


def test_tastes_are_told_apart_and_builds_repeat(tmp_path: Path) -> None:
    spec = write_two_tastes(tmp_path / "in")
    store = tmp_path / "store"
    build(spec, store)
    build(spec, store)
    with Store(store).open(1) as one, Store(store).open(2) as two:
        assert b"".join(dump(one)) == b"".join(dump(two))
        space = one.spaces["taste"]
        assert space.items is not None and space.users is not None
        assert (space.items.shape, space.users.shape, space.metric) == ((21, 4), (41, 4), "dot")
        scores = space.users[:40] @ space.items[:20].T
        same = np.arange(40)[:, None] % 2 == np.arange(20) % 2
        assert scores[same].mean() > 5 * abs(scores[~same].mean())
        assert (scores.argmax(axis=1) % 2 == np.arange(40) % 2).all()
        assert not space.items[20].any() and not space.users[40].any()


MEASURED_LEARN = """
import json, re, sys, threading
from pathlib import Path
import numpy as np
from mixline.storage.als import learn
from mixline.storage.arrays import write_array
from mixline.storage.progress import Silence
from mixline.storage.spec import SpaceSpec
import implicit.als, scipy.sparse, threadpoolctl

folder, users, items, each = Path(sys.argv[1]), *map(int, sys.argv[2:])
rng = np.random.default_rng(1)
write_array(folder / "seen_indptr.npy", np.arange(users + 1, dtype=np.int64) * each)
rows = np.sort(rng.integers(0, items // each, (users, each), dtype=np.uint32) + np.arange(each, dtype=np.uint32)
               * np.uint32(items // each), axis=1)
write_array(folder / "seen_rows.npy", rows.ravel())
write_array(folder / "seen_weights.npy", np.ones(users * each, dtype=np.float32))
del rows

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

before, peak, done = anonymous(), 0, threading.Event()

def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
learn("taste", SpaceSpec(learn="als", dim=16, iterations=1), folder, folder, users, items, 1 << 40, Silence())
done.set()
watcher.join()
print(json.dumps(peak - before))
"""


def test_the_stated_memory_need_holds(tmp_path: Path) -> None:
    users, items, each = 40_000, 5_000, 100
    command = [sys.executable, "-c", MEASURED_LEARN, tmp_path, str(users), str(items), str(each)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used, need = json.loads(done.stdout), need_bytes(users * each, users, items, 16)
    print(f"need {need >> 20} MiB, used {used >> 20} MiB")
    assert need / 3 < used < need * 1.1
