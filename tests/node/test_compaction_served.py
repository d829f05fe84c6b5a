"""Folds, flips and rollbacks of a served node, while clients write and read: nothing fails, is lost or is mixed."""

import os
import shutil
import signal
import threading
import time

import msgspec
import pytest
from film_store import SEEN, build_store, films, near, node_with, vector, write_config
from node_process import running, wait_until

from mixline.node import Client
from mixline.node.compaction import compact
from mixline.node.errors import NodeError
from mixline.storage.digests import seal_of
from mixline.storage.errors import StoreUnfit
from mixline.storage.lock import StoreLock
from mixline.storage.manifest import MANIFEST, SEAL, encode_manifest, read_manifest
from mixline.storage.store import Store

ITEMS = [film["id"] for film in films()[:20]]
SURFACES = {"fresh": near("user", SEEN), "given": near("given")}


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


class Crowd:
    """One client that writes, in versions whose two columns agree, and two that read; ``wrong``: what went wrong."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.wrong, self.pages, self.over = [], 0, threading.Event()
        self.written = {}  # item -> version that was acknowledged
        self.seen = set()
        self.live_seq = 0
        self.epochs = set()
        self.threads = [threading.Thread(target=self._run, args=(job,)) for job in (self.write, self.read, self.read)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _run(self, job):
        try:
            with Client(self.endpoint) as client:
                job(client)
        except (NodeError, OSError, KeyError) as error:
            self.wrong.append(repr(error))

    def write(self, client):
        version = 0
        while not self.over.is_set():
            version += 1
            one = ITEMS[version % len(ITEMS)]
            columns = {"year": float(version), "price": version}
            done = client.apply([{"op": "patch_item", "id": one, "columns": columns}], deadline_ms=20_000)
            self.written[one] = version
            if version % 5 == 0:
                for first in client.ask("fresh", user=39, limit=1, deadline_ms=20_000).ids.tolist():
                    done = client.record(39, first, "view", deadline_ms=20_000)
                    self.seen.add(first)
            self.live_seq = done.live_seq
            time.sleep(0.004)

    def read(self, client):
        while not self.over.is_set():
            written, seen, least = dict(self.written), set(self.seen), self.live_seq
            page = client.ask("given", vector=vector(1), fields=["year", "price"], limit=300, deadline_ms=20_000)
            found = dict(
                zip(page.ids.tolist(), zip(page.fields["year"], page.fields["price"], strict=True), strict=True)
            )
            for one, version in written.items():
                year, price = found[one]
                if year != price or price < version:
                    self.wrong.append(f"item {one}: {year}, {price}; {version} was acknowledged")
            if page.live_seq < least:
                self.wrong.append(f"live_seq {page.live_seq} after {least}")
            fresh = client.ask("fresh", user=39, limit=300, deadline_ms=20_000)
            if seen & set(fresh.ids.tolist()):
                self.wrong.append(f"seen and shown: {seen & set(fresh.ids.tolist())}")
            self.epochs.add(page.epoch)
            self.pages += 2
            time.sleep(0.02)  # whoever folds needs a processor too


def everything(node, crowd):
    """All that was acknowledged is there at the end."""
    with Client(node.endpoint) as client:
        page = client.ask("given", vector=vector(1), fields=["price"], limit=300, live_seq=crowd.live_seq)
        prices = dict(zip(page.ids.tolist(), page.fields["price"], strict=True))
        assert {one: prices[one] for one in crowd.written} == crowd.written
        assert not crowd.seen & set(client.ask("fresh", user=39, limit=300).ids.tolist())
    assert crowd.wrong == [] and crowd.pages > 20


def test_a_node_folds_by_itself(store, tmp_path):
    config = write_config(tmp_path, **SURFACES)
    config.write_text(config.read_text() + "[compaction]\noperations = 100\nkeep = 2\n")
    with running(store.parent, store=store, workers=2, serve=["--config", config]) as node:
        with Crowd(node.endpoint) as crowd:
            wait_until(lambda: crowd.wrong or (Store(store).current() >= 3 and 3 in crowd.epochs), 90)
        everything(node, crowd)
        assert len(Store(store).epochs()) <= 3  # the one that the fold left is pruned by the next
        assert "epoch 2 has everything up to operation" in node.log()
        assert node.stop() == 0


def test_a_fold_that_fails_is_told_and_serving_goes_on(store, tmp_path):
    config = write_config(tmp_path, **SURFACES)
    config.write_text(config.read_text() + "[compaction]\noperations = 1\n")
    with (
        running(store.parent, store=store, workers=1, serve=["--config", config]) as node,
        Client(node.endpoint) as client,
        StoreLock(store, "somebody else"),
    ):
        client.record(1, ITEMS[0], "view")
        wait_until(lambda: "nothing was folded (exit code 75)" in node.log(), 30)
        assert "somebody else" in node.log()
        client.record(1, ITEMS[1], "view")
        assert client.ask("given", vector=vector(1)).epoch == 1 and Store(store).current() == 1
        assert node.stop() == 0


def test_an_epoch_without_its_events_says_what_to_do(store, tmp_path):
    folder = store / "epochs" / "000001"
    manifest = read_manifest(folder)
    kept = {name: facts for name, facts in manifest.files.items() if not name.startswith("events/")}
    shutil.rmtree(folder / "events")  # as in an epoch of an earlier release
    raw = encode_manifest(msgspec.structs.replace(manifest, files=kept))
    for name, written in ((MANIFEST, raw), (SEAL, seal_of(raw))):
        (folder / name).chmod(0o644)
        (folder / name).write_bytes(written)
    with node_with(store, tmp_path, **SURFACES) as node:
        node.record(1, ITEMS[0], "view")
        with pytest.raises(StoreUnfit, match="build it from its files once"):
            compact(store)


@pytest.mark.stress
@pytest.mark.timeout(880)
def test_two_hundred_flips_and_fifty_rollbacks_under_writes(store, tmp_path):
    """Every flip is a fold; after every fourth the node goes back to the epoch before and forward again."""
    flips, rollbacks = 0, 0
    with running(store.parent, store=store, workers=2, serve=["--config", write_config(tmp_path, **SURFACES)]) as node:
        with Crowd(node.endpoint) as crowd:

            def flip(number):
                node.process.send_signal(signal.SIGHUP)
                wait_until(lambda: {each["epoch"] for each in node.info()["workers"]} == {number}, 60)

            while flips < 200 and not crowd.wrong:
                before = crowd.live_seq
                wait_until(lambda: crowd.live_seq > before or crowd.wrong)  # noqa: B023
                manifest = compact(store)
                assert manifest is not None and manifest.live_seq > before
                flip(manifest.number)
                flips += 1
                if flips % 4 == 0:
                    flip(Store(store).rollback())
                    rollbacks += 1
                    Store(store).activate(manifest.number)
                    flip(manifest.number)
                    flips += 1
                    Store(store).prune(2)
        everything(node, crowd)
        assert (flips, rollbacks) >= (200, 40) and node.stop() == 0
    print(f'{{"flips": {flips}, "rollbacks": {rollbacks}, "pages": {crowd.pages}, "live_seq": {crowd.live_seq}}}')


def test_the_least_priority(store, tmp_path, monkeypatch):
    """The command steps back before it reads anything."""
    from click.testing import CliRunner

    from mixline.tools.epoch import epoch

    asked = []
    monkeypatch.setattr(os, "nice", asked.append)
    assert CliRunner().invoke(epoch, ["build", str(store), "--from-live"]).exit_code == 0
    assert asked == [19]
