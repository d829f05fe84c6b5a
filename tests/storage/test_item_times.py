"""Times of items' events as they are built: the same arrays however they had to be spilled."""

import numpy as np
import pytest

from mixline.storage import events as event_files
from mixline.storage import item_times_builder
from mixline.storage.events import EVENT, Spill
from mixline.storage.item_times import map_item_times
from mixline.storage.item_times_builder import ItemTimesWriter, item_times
from mixline.storage.progress import Silence

ITEMS = 40


def events_of(count):
    """One item has half of all events."""
    rng = np.random.default_rng(4)
    events = np.zeros(count, dtype=EVENT)
    events["item"] = np.where(rng.random(count) < 0.5, 7, rng.integers(ITEMS - 3, size=count))
    events["time"] = rng.integers(-100, 1 << 33, count)
    events["action"] = rng.integers(3, size=count) * 100
    return events


def write(folder, events):
    (folder / "graph").mkdir(parents=True)
    spill = Spill(folder / "spill", 0, ITEMS, len(events), key="item")
    for part in np.array_split(events, 3):
        spill.write(item_times(part))
    spill.close()
    writer = ItemTimesWriter(folder)
    for part, one in enumerate(spill.paths):
        writer.settle(one, *spill.bounds(part), Silence())
    writer.close()
    return map_item_times(folder)


@pytest.mark.parametrize("held", [1 << 20, 900, 64])
def test_every_event_is_there_in_order(tmp_path, monkeypatch, held):
    monkeypatch.setattr(event_files, "SETTLE_EVENTS", held)
    monkeypatch.setattr(item_times_builder, "COPY_EVENTS", 50)
    events = events_of(4000)
    indptr, actions, starts, times = write(tmp_path, events)
    assert len(indptr) == ITEMS + 1 and indptr[-1] == len(actions) and starts[-1] == len(times) == len(events)
    for item in range(ITEMS):
        mine = events[events["item"] == item]
        pairs = range(int(indptr[item]), int(indptr[item + 1]))
        assert [int(actions[pair]) for pair in pairs] == sorted({*mine["action"].tolist()})
        for pair in pairs:
            expected = np.sort(np.clip(mine["time"][mine["action"] == actions[pair]], 0, 0xFFFFFFFF))
            assert times[starts[pair] : starts[pair + 1]].tolist() == expected.tolist()


def test_a_store_without_events_in_its_file(tmp_path):
    indptr, actions, starts, times = write(tmp_path, events_of(0))
    assert indptr.tolist() == [0] * (ITEMS + 1) and starts.tolist() == [0] and not len(actions) and not len(times)
