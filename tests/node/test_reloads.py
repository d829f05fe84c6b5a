"""Reloads under load: no request fails, no page is made of two configurations, and how long an edit takes."""

import os
import random
import signal
import statistics
import threading
import time

import msgspec
import pytest
from film_store import near, write_config
from node_process import running, wait_until

from mixline.node import Client

BRINGS = 'query = "user"\nlimit = {}'
RELOADS = 250  # four parts of these are a thousand


def surface(at):
    """A configuration whose number is seen in the page: in how many a source brought, and in how many are left."""
    text = near().replace(BRINGS.format(400), BRINGS.format(100 + at % 100))
    return text.replace("limit = 400", f"limit = {at % 50 + 20}", 1)


def numbers(page):
    """What the parts of a page say of it, each on its own."""
    return (page.coverage[0].taken - 100) % 50, len(page) - 20


class Load:
    """Clients that ask one after the other; a pause leaves the successors of workers some of the processor."""

    def __init__(self, endpoint, clients, pause_s):
        self.over, self.faults, self.asked = threading.Event(), [], 0
        self.generations, self.pause_s = [0] * clients, pause_s
        self.threads = [threading.Thread(target=self.ask, args=(endpoint, at)) for at in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, endpoint, at):
        with Client(endpoint) as client:
            while not self.over.is_set():
                try:
                    page = client.ask("near", user=at)
                except Exception as error:  # noqa: BLE001  # any failure is what is looked for
                    self.faults.append(repr(error))
                    continue
                self.asked += 1
                self.generations[at] = page.config_generation
                one, other = numbers(page)
                if one != other or str(page.status) != "OK":
                    self.faults.append(f"{page.status}, generation {page.config_generation}: {one} and {other}")
                time.sleep(self.pause_s)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def reload_under_load(store, folder, count, seed, pause_s=0.0):
    """Edit and reload ``count`` times; the times until the edit was in force on all workers, and what went wrong."""
    rng = random.Random(seed)
    config = write_config(folder, near=surface(0))
    took = []
    serve = ["--config", config]
    with running(folder, store=store, workers=2, serve=serve) as node, Client(node.endpoint) as client:
        load = Load(node.endpoint, 3, pause_s)
        try:
            for at in range(1, count + 1):
                good = rng.random() > 0.1
                text = surface(at) if good else "limit = -1\n" + near()
                before = client.ask("near", user=1).config_generation
                (folder / "surfaces" / "near.toml").write_text(f'name = "near"\n{text}')
                began = time.monotonic()
                os.kill(node.process.pid, signal.SIGHUP)
                if good:
                    over = f"configuration generation {before + 1}\n"
                    wait_until(lambda over=over: node.log().endswith(over) or over in node.log())
                    took.append(time.monotonic() - began)
                else:
                    wait_until(lambda at=at: node.log().count("reload refused") >= refused_by(at, seed))
                    assert client.ask("near", user=1).config_generation == before
        finally:
            load.end()
        node.pids |= set(node.worker_pids())
        return took, load


def refused_by(at, seed):
    """How many of the first ``at`` edits were bad."""
    rng = random.Random(seed)
    return sum(rng.random() <= 0.1 for _ in range(at))


def test_a_few(film_store, tmp_path):
    took, load = reload_under_load(film_store, tmp_path, 6, seed=3, pause_s=0.002)
    assert load.faults == [] and load.asked > 100 and took


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
def test_a_thousand(film_store, tmp_path, stress_seed, part):
    took, load = reload_under_load(film_store, tmp_path, RELOADS, seed=4 * stress_seed + part)
    figures = {
        "reloads": len(took),
        "requests": load.asked,
        "faults": load.faults[:5],
        "in_force_median_s": round(statistics.median(took), 3),
        "in_force_max_s": round(max(took), 3),
    }
    print(msgspec.json.encode(figures).decode())
    assert load.faults == [] and len(took) > 0.8 * RELOADS
