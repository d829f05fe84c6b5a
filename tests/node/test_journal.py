"""The journal: what it says is what was answered, whatever became of the process, the disk or the user."""

import os
import signal
import zlib

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from film_store import build_store, films, node_with, write_config
from node_process import running, wait_until

from mixline.node import Client
from mixline.node.inprocess import Node
from mixline.storage.journal_format import ENTRY, ERASED, HEAD, REQUEST
from mixline.storage.journal_reader import Journal, JournalFile, erase_user
from mixline.storage.journal_writer import JournalWriter, journal_files
from mixline.tools.forget import forget
from mixline.tools.journal import journal as command

EFFECT = '[[side_effect]]\nkind = "journal"\n'
MIXED = """
limit = 5
deadline_ms = 10000
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
limit = 60
[[source]]
name = "popular"
kind = "popular"
limit = 40
[[hydrator]]
kind = "columns"
columns = ["year", "price", "studio", "colour"]
[[filter]]
kind = "predicate"
name = "late"
where = "taste.score >= 0"
[[scorer]]
name = "final"
kind = "weighted"
terms = { "taste.score" = 1.0, "popular.score" = 2.0 }
[[selector]]
kind = "topk"
by = "final"
[[side_effect]]
kind = "journal"
"""


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


@pytest.fixture
def node(store, tmp_path):
    config = write_config(tmp_path, mixed=MIXED, few=MIXED + "candidates = 20\n", some=MIXED + "sample = 0.5\n")
    with Node.open(store, config, effects=True) as opened:
        yield opened


def entries(store, **more):
    found = Journal(store / "journal")
    return [*found.entries(**more)], found.cuts


def test_a_record_is_what_was_answered(node, store):
    pages = [node.ask("mixed", user=user, request_id=user, tenant="web", priority=7) for user in (1, 2, 1000)]
    found, cuts = entries(store)
    assert not cuts and len(found) == 3
    for entry, page in zip(found, pages, strict=True):
        fixed, columns = entry.fixed, entry.columns
        assert entry.request_id == page.request_id and entry.schema.surface == "mixed"
        assert (fixed["epoch"], fixed["live_seq"], fixed["tenant"], fixed["priority"]) == (1, 0, b"web", 7)
        assert entry.item_ids[columns["slate"]].tolist() == page.ids.tolist()
        assert columns["final"][columns["slate"]].tobytes() == page.scores.tobytes()
        assert columns["sources"][columns["slate"]].tolist() == page.source_bits.tolist()
        assert sum(entry.facts.fates.values()) == fixed["candidates"] == fixed["kept"]
        assert (columns["fate"] == 16).sum() == entry.facts.fates.get("dropped:late", 0)
        years = {film["id"]: film["year"] for film in films()}
        for one, year in zip(entry.item_ids.tolist(), columns["year"].tolist(), strict=True):
            assert years[one] == year or (years[one] is None and year != year)
    asked = msgspec.msgpack.decode(found[0].ask)
    assert asked == {"user": 1}


def test_groups_and_fewer_candidates(node, store):
    page = node.ask("few", users=[1, 2, 3], limit=4)
    (entry,), _ = entries(store)
    assert entry.fixed["groups"] == 3 and entry.fixed["kept"] == 60 < entry.fixed["candidates"]
    slate = entry.columns["slate"]
    assert entry.item_ids[slate].tolist() == page.ids.tolist()
    for group in range(3):
        mine = entry.columns["group"] == group
        assert mine.sum() == 20
        rest = entry.columns["final"][mine & (entry.columns["fate"] == 2)]
        assert rest.max() <= page.scores[page.groups[group] : page.groups[group + 1]].min()


def test_sampling_goes_by_the_request(node, store):
    for at in range(200):
        node.ask("some", user=1, request_id=at)
    first = {entry.request_id for entry in entries(store)[0]}
    assert 60 < len(first) < 140
    for at in range(200):
        node.ask("some", user=1, request_id=at)
    both = [entry.request_id for entry in entries(store)[0]]
    assert len(both) == 2 * len(first) and set(both) == first


def test_nothing_is_written_without_being_told(store, tmp_path):
    with node_with(store, tmp_path, mixed=MIXED) as quiet:
        quiet.ask("mixed", user=1)
    assert not (store / "journal").exists()


def write_some(folder, count=3, size=100, **bounds):
    """Records that say their number."""
    bounds = {"file_bytes": 1 << 20, "total_bytes": 1 << 30, **bounds}
    writer = JournalWriter(folder, "w000", **bounds)
    add(writer, count, size)
    return writer


def add(writer, count, size=100, start=0):
    from mixline.storage.journal_format import FIXED, Facts, Schema

    schema = Schema(surface="s", sources=[], fates=[], columns=[("x", "<f4")])
    for at in range(start, start + count):
        fixed = np.zeros((), dtype=REQUEST)
        fixed["time"], fixed["kept"] = at, size
        kinds = {"slate": "<i4", "key": "<u8", "sources": "<u8", "fate": "u1"}
        columns = {name: np.zeros(0 if name == "slate" else size, kinds.get(name, "<u4")) for name in FIXED}
        columns["x"] = np.full(size, at, dtype="<f4")
        writer.append(schema, fixed, b"\x81\xa4user\x07", Facts(), columns, None)


def times(folder):
    found = Journal(folder)
    return [int(entry.fixed["time"]) for entry in found.entries()], found.cuts


def test_a_torn_tail_is_cut_at_the_last_whole_record(tmp_path):
    write_some(tmp_path).close()
    (path,) = journal_files(tmp_path)
    raw = path.read_bytes()
    starts = [found.start for found in JournalFile(path).records()]
    for length in [*range(starts[-1], len(raw), 97), *range(16), len(raw) - 1]:
        path.write_bytes(raw[:length])
        found, cuts = times(tmp_path)
        whole = max(0, sum(length >= end for end in [*starts[1:], len(raw)]) - 1)
        assert found == [*range(whole)]
        assert bool(cuts) == (length not in (0, *starts))
    for at in range(0, len(raw), 211):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 16]) + raw[at + 1 :])
        found, cuts = times(tmp_path)
        assert found == [*range(len(found))] and (cuts or len(found) == 3)


def test_files_are_rotated_and_bounded(tmp_path):
    writer = write_some(tmp_path, count=200, file_bytes=20_000, total_bytes=100_000)
    other = JournalWriter(tmp_path, "w001", 20_000, 100_000)
    add(other, 1, start=1000)
    add(writer, 100, start=200)
    total = sum(path.stat().st_size for path in journal_files(tmp_path))
    assert total <= 100_000 + 2 * 5_000  # a file ends with the record that fills it
    found, cuts = times(tmp_path)
    assert not cuts and found[-1] == 299 and 1000 in found, "the newest file of another writer stays"
    mine = [at for at in found if at != 1000]
    assert mine == [*range(mine[0], 300)] and mine[0] > 100
    writer.close()
    other.close()


def test_a_full_disk_loses_a_record_and_no_other(tmp_path, monkeypatch):
    writer = write_some(tmp_path, count=2)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, raw: real(fd, raw[: len(raw) // 2]))
    with pytest.raises(OSError, match="no room for a record"):
        add(writer, 1, start=2)
    monkeypatch.setattr(os, "write", real)
    add(writer, 1, start=3)
    assert times(tmp_path) == ([0, 1, 3], [])
    writer.close()


def test_the_latest_requests_of_several_writers(tmp_path):
    writers = [JournalWriter(tmp_path, f"w{at}", 20_000, 1 << 30) for at in range(3)]
    for at in range(90):
        add(writers[at % 3], 1, start=at)
    last = Journal(tmp_path).last(40)
    assert [int(entry.fixed["time"]) for entry in last] == [*range(50, 90)]
    assert len(Journal(tmp_path).last(1000)) == 90


def test_the_file_is_read_with_numpy_alone(node, store):
    """As docs/journal.md shows it."""
    page = node.ask("mixed", user=3)
    (path,) = journal_files(store / "journal")
    raw, at, schemas = path.read_bytes(), 0, {}
    while at < len(raw):
        head = np.frombuffer(raw, HEAD, 1, at)[0]
        body = raw[at + 16 : at + int(head["bytes"])]
        assert zlib.crc32(body) == head["crc"]
        if head["kind"] == 1:
            schemas[int(head["schema"])] = msgspec.json.decode(body.rstrip(b"\0"))
        elif head["kind"] == 2:
            request = np.frombuffer(body, REQUEST, 1)[0]
            place = REQUEST.itemsize
            for length in (request["ask_bytes"], request["facts_bytes"]):
                place += (int(length) + 7) // 8 * 8
            slate = np.frombuffer(body, "<i4", int(request["slate"]), place)
            place += (slate.nbytes + 7) // 8 * 8
            place += 2 * ((4 * int(request["kept"]) + 7) // 8 * 8)
            keys = np.frombuffer(body, "<u8", int(request["kept"]), place)
            assert keys[slate].tolist() == page.ids.tolist()
        at += int(head["bytes"])
    assert schemas[1]["surface"] == "mixed"


def test_list_and_export(node, store, tmp_path):
    pages = [node.ask("mixed", user=user) for user in (1, 2)]
    node.ask("few", users=[4, 5])
    run = CliRunner().invoke
    listed = run(command, ["list", "--store", str(store), "--json"])
    lines = [msgspec.json.decode(line) for line in listed.output.splitlines()]
    assert [line["surface"] for line in lines] == ["few", "mixed", "mixed"] and lines[2]["ids"] == pages[0].ids.tolist()
    out = tmp_path / "rows.parquet"
    done = run(command, ["export", "--store", str(store), "--out", str(out), "--surface", "mixed", "--json"])
    assert done.exit_code == 0, done.output or done.exception
    rows = pq.read_table(out).to_pylist()
    assert len(rows) == msgspec.json.decode(done.output)["rows"]
    for user, page in zip((1, 2), pages, strict=True):
        mine = sorted((row["position"], row) for row in rows if row["user"] == user and row["fate"] == "served")
        assert [row["item"] for _, row in mine] == page.ids.tolist()
        assert [row["final"] for _, row in mine] == page.scores.tolist()
        assert all(row["request_id"] == page.request_id for _, row in mine)
    assert {row["fate"] for row in rows} >= {"served", "reserve"}
    assert run(command, ["export", "--store", str(store), "--out", str(out)]).exit_code == 0
    users = {row["user"] for row in pq.read_table(out).to_pylist()}
    assert users == {1, 2, 4, 5}
    bare = run(command, ["list", "--folder", str(tmp_path / "surfaces")])
    assert bare.exit_code == 0
    assert "--store" in run(command, ["list"]).output
    missing = run(command, ["list", "--store", str(tmp_path)])
    assert "no journal there" in str(missing.exception)


def test_a_forgotten_user_is_in_no_byte_of_it(node, store):
    user = 0xA1B2C3D4E5F60001
    trace = user.to_bytes(8, "big")
    node.ask("mixed", user=1)
    node.ask("mixed", user=user)
    node.ask("few", users=[2, user])
    node.ask("mixed", user=2)
    files = journal_files(store / "journal")
    assert any(trace in path.read_bytes() for path in files)
    done = CliRunner().invoke(forget, ["--user", str(user), "--store", str(store), "--json"])
    assert done.exit_code == 0, done.output or done.exception
    assert msgspec.json.decode(done.output)["journalled"] == 2
    assert not any(trace in path.read_bytes() for path in files)
    found, cuts = entries(store)
    assert [msgspec.msgpack.decode(entry.ask)["user"] for entry in found] == [1, 2] and not cuts
    node.ask("mixed", user=3)
    assert len(entries(store)[0]) == 3


def test_erasing_that_was_broken_off_is_finished(tmp_path):
    write_some(tmp_path, count=3).close()
    (path,) = journal_files(tmp_path)
    doomed = [found for found in JournalFile(path).records() if found.kind == ENTRY][1]
    with path.open("r+b") as file:  # as by one that died between the head and the body
        file.seek(doomed.start + HEAD.fields["kind"][1])
        file.write(ERASED.to_bytes(2, "little"))
    assert times(tmp_path) == ([0, 2], [])
    (tmp_path / "journal.paths").write_text(f"{tmp_path}\n")
    assert erase_user(tmp_path, 8) == 1
    assert not any(path.read_bytes()[doomed.start + HEAD.itemsize : doomed.start + doomed.bytes])
    assert erase_user(tmp_path, 7) == 2 and times(tmp_path) == ([], [])


def test_a_journal_elsewhere_is_known_to_the_store(store, tmp_path):
    config = write_config(tmp_path, mixed=MIXED)
    config.write_text(config.read_text() + '[journal]\npath = "there"\n')
    with Node.open(store, config, effects=True) as node:
        node.ask("mixed", user=1)
    assert len([*Journal(tmp_path / "there").entries()]) == 1 and not (store / "journal").exists()
    assert erase_user(store, 1) == 1


def test_a_served_node_writes_once_for_each_request_that_was_answered(store, tmp_path):
    config = write_config(tmp_path, mixed=MIXED)
    serve = ["--config", config]
    with running(tmp_path, store=store, workers=2, serve=serve) as node, Client(node.endpoint) as client:
        pages = {}
        for at in range(300):
            page = client.ask("mixed", user=at % 39, request_id=at)
            pages[page.request_id] = page.ids.tolist()
        wait_until(lambda: len(entries(store)[0]) >= 300)
        for pid in node.worker_pids():
            os.kill(pid, signal.SIGKILL)  # what was answered before is there
        wait_until(lambda: client.ask("mixed", user=1, request_id=999) is not None)
        wait_until(lambda: len(entries(store)[0]) >= 301)
    found, cuts = entries(store)
    assert not cuts and len(found) == 301
    served = {entry.request_id: entry.item_ids[entry.columns["slate"]].tolist() for entry in found}
    assert len(served) == 301 and all(served[one] == ids for one, ids in pages.items())


def test_what_cannot_be_written_is_counted_and_harms_no_request(store, tmp_path):
    (store / "journal").write_text("in the way")
    config = write_config(tmp_path, mixed=MIXED)
    with running(tmp_path, store=store, workers=1, serve=["--config", config]) as node:
        from mixline.node.readings import MeterReader

        with Client(node.endpoint) as client:
            for at in range(20):
                assert len(client.ask("mixed", user=at)) == 5
        reader = MeterReader.open(node.info()["meters"])

        def lost():
            rows = reader.read().work
            return next(
                row.counts["failed"]
                for key, row in rows.items()
                if key.name == "journal" and key.stage == "side_effect"
            )

        wait_until(lambda: lost() == 20)
        assert node.log().count("side effect 'journal' of mixed failed") == 1
