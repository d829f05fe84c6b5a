"""Memory does not grow with the events, and nothing that bounds it (spills, batches, commits) shows in the result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from build_case import build, write_films, write_table

from mixline.storage import events
from mixline.storage.dump import dump
from mixline.storage.store import Store


def write_events(folder: Path, count: int, *, users: int, items: int, ending: str = ".parquet") -> Path:
    """A specification over ``count`` events, of which one user has a third; users come from the events."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    write_table(folder / "items.csv", {"item": list(range(items))})
    who = rng.integers(0, users, count)
    who[rng.random(count) < 1 / 3] = users // 2
    table = {
        "user": who,
        "item": (items * rng.random(count) ** 2).astype(np.int64),
        "time": rng.integers(1_500_000_000, 1_500_000_000 + max(10, count // 10), count),
        "weight": rng.random(count).round(3),
    }
    if ending == ".parquet":
        pa.parquet.write_table(pa.table(table), folder / "events.parquet", row_group_size=1 << 17)
    else:
        write_table(folder / f"events{ending}", {name: values.tolist() for name, values in table.items()})
    spec = folder / "spec.toml"
    spec.write_text(
        f"""
[items]
path = "items.csv"
id = "item"
[events]
path = "events{ending}"
user = "user"
item = "item"
time = "time"
weight = "weight"
half_life_days = 0.01
history_max = 50
neighbours_max = 20
neighbours_history = 20
"""
    )
    return spec


def dumped(store: Path) -> bytes:
    with Store(store).open() as epoch:
        return b"".join(dump(epoch))


def test_spill_agnosticism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_events(tmp_path / "in", 8000, users=300, items=80)
    build(spec, tmp_path / "whole")
    expected = dumped(tmp_path / "whole")
    for settle_events in (1 << 12, 1200, 50, 8):
        monkeypatch.setattr(events, "SETTLE_EVENTS", settle_events)
        build(spec, tmp_path / f"{settle_events}")
        assert dumped(tmp_path / f"{settle_events}") == expected, settle_events


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_batch_agnosticism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    spec = write_films(tmp_path / "in", ending, strings=True, events=2000)
    build(spec, tmp_path / "whole")
    for name, value in (
        ("inputs.BLOCK_BYTES", 2048),
        ("inputs.CSV_ROW_BYTES", 2048),
        ("cooccurrence.CHUNK", 7),
        ("cooccurrence.WRITE_ITEMS", 2),
        ("records.COMMIT_BYTES", 100),
        ("arrays.COPY_BYTES", 50),
        ("identifiers.FRESH_KEYS", 2),
    ):
        monkeypatch.setattr(f"mixline.storage.{name}", value)
    build(spec, tmp_path / "parts")
    assert dumped(tmp_path / "parts") == dumped(tmp_path / "whole")


def test_format_agnosticism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SETTLE_EVENTS", 500)
    dumps = []
    for ending in (".parquet", ".csv", ".jsonl"):
        spec = write_events(tmp_path / ending[1:], 5000, users=40, items=30, ending=ending)
        build(spec, tmp_path / ending[1:] / "store")
        dumps.append(dumped(tmp_path / ending[1:] / "store").split(b"\n", 1)[1])  # the first line names the files
    assert dumps[1:] == dumps[:1] * 2


MEASURED_BUILD = """
import json, re, sys, threading
from pathlib import Path
from mixline.storage import events
from mixline.storage.builder import Builder
from mixline.storage.file_source import FileSource
from mixline.storage.progress import Silence
from mixline.storage.spec import read_spec
from mixline.node.build_kernels import build_kernels

events.SETTLE_EVENTS = 1 << 17
peak_kb, done = 0, threading.Event()

def watch():
    global peak_kb
    while not done.wait(0.002):
        status = Path("/proc/self/status").read_text()
        peak_kb = max(peak_kb, int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]))

spec, store = read_spec(Path(sys.argv[1])), Path(sys.argv[2])
watcher = threading.Thread(target=watch)
watcher.start()
manifest = Builder(FileSource(spec), store, build_kernels(), 1 << 30, Silence()).build()
done.set()
watcher.join()
print(json.dumps({"peak_bytes": peak_kb * 1024, "items": manifest.items.count,
                  "events": manifest.events.count if manifest.events else 0}))
"""


def measured_build(spec: Path, store: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_BUILD, spec, store], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_memory_does_not_grow_with_the_events(tmp_path: Path) -> None:
    """Ten times the events, 3.6 million more of them: at 24 bytes each they would show as 86 MB."""
    found = []
    for count in (400_000, 4_000_000):
        spec = write_events(tmp_path / f"in{count}", count, users=20_000, items=2000)
        found.append(measured_build(spec, tmp_path / f"store{count}"))
    assert [one["events"] for one in found] == [400_000, 4_000_000]
    grown = found[1]["peak_bytes"] - found[0]["peak_bytes"]
    print(f"peaks: {[one['peak_bytes'] >> 20 for one in found]} MiB")
    assert grown < 40 << 20, found


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv"])
def test_memory_does_not_grow_with_wide_rows(tmp_path: Path, ending: str) -> None:
    """Four thousand more rows of 20 KB each, 80 MB of text; the fewer are already more than a reader has ahead."""
    found = []
    for count in (5000, 9000):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        texts = [f"{at} " + f"{at * 7919 % 65536:04x}" * 5000 for at in range(count)]
        write_table(folder / f"items{ending}", {"item": list(range(count)), "text": texts}, {"text": "text"})
        spec = folder / "spec.toml"
        spec.write_text(f'[items]\npath = "items{ending}"\nid = "item"\ncolumns = {{ text = "text" }}\n')
        found.append(measured_build(spec, folder / "store"))
    assert [one["items"] for one in found] == [5000, 9000]
    grown = found[1]["peak_bytes"] - found[0]["peak_bytes"]
    print(f"peaks: {[one['peak_bytes'] >> 20 for one in found]} MiB")
    assert grown < 40 << 20, found
