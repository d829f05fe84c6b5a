"""What readers follow while a writer appends, against plain Python models of it."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.storage import live_index as index
from mixline.storage.growing import GAP_ROWS, GrowingArrays, first_live_row
from mixline.storage.stitched import PAGE, Stitched

BASE, ROOM = 64, 32
IDENTITY = st.integers(0, 9)


@given(given=st.lists(IDENTITY, max_size=ROOM), end=st.integers(0, ROOM))
def test_the_newest_version_below_a_watermark(given, end):
    newest, before = np.zeros(BASE + ROOM, dtype=np.uint32), np.zeros(ROOM, dtype=np.uint32)
    for at, identity in enumerate(given):
        index.version_rows(np.array([identity], dtype=np.uint32), BASE + at, newest, before, BASE)
    expected = {identity: BASE + at for at, identity in enumerate(given[:end])}
    asked = np.arange(10, dtype=np.uint32)
    found = index.newest_versions(asked, newest, before, BASE, BASE + end)
    assert found.tolist() == [expected.get(identity, identity) for identity in range(10)]


@given(given=st.lists(IDENTITY, min_size=1, max_size=ROOM), kept=st.integers(0, ROOM))
def test_a_writer_that_died_after_pointing_ahead_is_made_good(given, kept):
    """All versions were noted, the state of ``kept`` was published; the next writer notes the rest again."""
    newest, before = np.zeros(BASE + ROOM, dtype=np.uint32), np.zeros(ROOM, dtype=np.uint32)
    rows = np.array(given, dtype=np.uint32)
    index.version_rows(rows, BASE, newest, before, BASE)
    again = newest.copy(), before.copy()
    kept = min(kept, len(given))
    index.version_rows(rows[kept:], BASE + kept, newest, before, BASE)
    assert (newest == again[0]).all() and (before == again[1]).all()


@given(users=st.lists(IDENTITY, max_size=60), end=st.integers(0, 60), most=st.integers(0, 60), died=st.integers(0, 60))
def test_chains_of_events(users, end, most, died):
    events, heads = np.zeros(64, dtype=index.EVENT), np.zeros(16, dtype=np.uint32)
    events["user"][: len(users)] = users
    events["action"] = kinds = np.resize([0, index.BLOCK, 5, index.BLOCK + 3, index.BLOCK], 64)
    since, blocks = end // 3, np.zeros(16, dtype=np.uint32)
    died, end = min(died, len(users)), min(end, len(users))
    index.link_events(events, 0, len(users), heads, blocks)
    index.link_events(
        events, died, len(users), heads, blocks
    )  # a writer that died had linked all, and published ``died``
    for user in range(10):
        for chain, wanted in ((heads, kinds < index.BLOCK), (blocks, kinds >= index.BLOCK)):
            expected = [at for at in range(end) if users[at] == user and wanted[at]][::-1]
            assert index.chain_events(events, chain, user, end, most).tolist() == expected[:most]
            later = [at for at in expected if at >= since][:most]
            assert index.chain_events(events, chain, user, end, most, since).tolist() == later


@given(keys=st.lists(st.integers(0, (1 << 64) - 1), max_size=60, unique=True), end=st.integers(0, 60))
def test_the_table_of_ids(keys, end):
    table = np.zeros(128, dtype=index.ID_LINE)
    for at, key in enumerate(keys):
        index.put_id(table, index.place_of_id(table, key), key, 1 + at)
    found = index.find_ids(table, np.array([*keys, 77], dtype=np.uint64), 1 + end)
    for at, row in enumerate(found[: len(keys)].tolist()):
        assert row == (1 + at if at < end else index.NONE)


def test_a_state_is_whole_and_the_latest():
    memory = np.zeros(index.STATE_WORDS, dtype=np.uint64)
    assert index.state_generation(memory) == 0
    for at in range(5):
        index.publish_state(memory, [at * 10 + field for field in range(8)])
        generation, fields = index.read_state(memory)
        assert generation == index.state_generation(memory) == at + 1
        assert fields == (*(at * 10 + field for field in range(8)), *[0] * 8)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: index.version_rows(np.zeros(1, np.uint32), 0, np.zeros(99, np.uint32), np.zeros(9, np.uint32), BASE),
        lambda: index.link_events(np.zeros(4, index.EVENT), 0, 5, *[np.zeros(4, np.uint32)] * 2),
        lambda: index.find_ids(np.zeros(3, index.ID_LINE), np.zeros(1, np.uint64), 1),
        lambda: index.newest_versions(np.zeros(1), np.zeros(9, np.uint32), np.zeros(9, np.uint32), BASE, BASE),
        lambda: index.publish_state(np.zeros(3, np.uint64), [1]),
    ],
)
def test_doors_check_what_they_are_given(wrong):
    with pytest.raises(ValueError):
        wrong()


@pytest.mark.parametrize(("count", "width"), [(0, 3), (1, 1), (300, 24), (5000, 7)])
@pytest.mark.parametrize("dtype", ["<f4", "u1", "<u8"])
def test_rows_of_both_files_stand_in_one_array(tmp_path, count, width, dtype):
    rows = (np.arange(count * width) % 251).astype(dtype).reshape(count, width)
    (tmp_path / "columns").mkdir()
    np.save(tmp_path / "columns" / "x.npy", rows)
    arrays, base = GrowingArrays(tmp_path), first_live_row(count)
    assert base % 64 == 0 and base >= count + GAP_ROWS
    whole = arrays.rows(tmp_path / "columns" / "x.npy", base)
    assert (whole[:count] == rows).all() and not whole[base : base + 100].any()
    (tail,) = arrays.tails.values()
    late = (np.arange(100 * width) % 199).astype(dtype).reshape(100, width)
    (tmp_path / "overlay").mkdir()
    with (tmp_path / "overlay" / tail.name).open("wb") as file:
        file.seek(tail.lead)
        file.write(late.tobytes())
        file.truncate(tail.size)
    arrays.attach(tmp_path / "overlay")
    assert (whole[:count] == rows).all() and (whole[base : base + 100] == late).all() and not whole[base + 100 :].any()
    assert not whole.flags.writeable


def test_a_stitched_range_refuses_what_is_no_page(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(ValueError, match="no whole pages"):
            Stitched(fd, 100, PAGE + 1, PAGE)
        with pytest.raises(OSError):
            Stitched(fd, 100, PAGE, PAGE).attach(-1)
        assert bytes(memoryview(Stitched(fd, 100, PAGE, PAGE)))[:101] == b"x" * 100 + b"\0"
    finally:
        os.close(fd)
