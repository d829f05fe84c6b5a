"""The shipped surface `search` on stores that have everything, or lack texts, vectors, events or past queries."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from text_store import TITLES, build_titles, films

from mixline.node import Node
from mixline.storage.store import Store
from mixline.tools.build import build

CLICKS = "query,item,count\nspace,119,8\nspace,104,4\n"
WHOLE = """
[items]
path = "films.jsonl"
id = "id"
columns = { title = "text", plot = "text", year = "f32", genres = "tags", studio = "category" }
[users]
path = "users.csv"
id = "id"
[events]
path = "events.csv"
user = "user"
item = "item"
[spaces.taste]
items = "taste.npy"
users = "users.npy"
[spaces.texts]
items = "texts.npy"
metric = "cosine"
[text]
queries = "clicks.csv"
queries_item = "item"
"""
BARE = """
[items]
path = "films.jsonl"
id = "id"
columns = { studio = "category" }
"""


def built(folder, spec):
    rng = np.random.default_rng(8)
    (folder / "films.jsonl").write_text("".join(json.dumps(film) + "\n" for film in films()))
    (folder / "events.csv").write_text("user,item\n" + "".join(f"{u},{100 + i}\n" for i in range(20) for u in range(i)))
    (folder / "users.csv").write_text("id\n" + "".join(f"{user}\n" for user in range(20)))
    (folder / "clicks.csv").write_text(CLICKS)
    for name, rows, dim in (("taste", 20, 4), ("users", 20, 4), ("texts", 20, 6)):
        np.save(folder / f"{name}.npy", rng.standard_normal((rows, dim)).astype(np.float32))
    (folder / "spec.toml").write_text(spec)
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return folder / "store"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return built(tmp_path_factory.mktemp("whole"), WHOLE)


def states(page):
    return {entry.name: entry.state for entry in page.coverage}


def test_every_part_has_its_say(whole):
    with Node.open(whole) as node, Store(whole).open() as epoch:
        vector = epoch.spaces["texts"].items[7] * 3
        page = node.ask("search", user=3, query="space", vector=vector, limit=20, explain=True)
        assert page.status == "OK" and set(states(page).values()) == {"ok"}
        liking = epoch.spaces["taste"].items @ epoch.spaces["taste"].users[3]
        counts = np.log1p(np.arange(20))
        for at, one in enumerate(page.ids.tolist()):
            columns = page.explain[at]["columns"]
            row = one - 100
            assert columns["liking"] == pytest.approx(float(liking[row]), rel=1e-5, abs=1e-6)
            assert columns["known"] == pytest.approx(float(counts[row] / counts[19]), rel=1e-5, abs=1e-6)
            terms = ((1.0, "text.score"), (3.0, "near.score"), (2.0, "chosen.score"), (0.3, "known"), (0.1, "liking"))
            wanted = sum(weight * (columns[name] or 0.0) for weight, name in terms)
            assert page.scores[at] == pytest.approx(wanted, rel=1e-5)
        chosen = {one: page.explain[at]["columns"]["chosen.score"] for at, one in enumerate(page.ids.tolist())}
        assert chosen[119] == 1.0 and chosen[104] == 0.5
        near = node.ask("search", query="zzzz", vector=vector, limit=1)
        assert near.ids.tolist() == [107] and near.total == 0
        with_words = [one for one in films() if "space" in f"{one['title']} {one['plot']}".lower()]
        assert page.total == len(with_words)
        assert {one["value"] for one in page.facets["studio"]} == {one["studio"] for one in with_words}
        assert set(page.facets) == {"genres", "studio"}
        shown = dict(zip(page.ids.tolist(), page.highlights, strict=True))
        assert shown[104]["title"] == TITLES[4].replace("Space", "<b>Space</b>") and "title" not in shown[119]
        assert node.ask("search", query="intersteller").spelling == "interstellar"


def test_what_a_store_lacks_is_skipped_and_named(tmp_path):
    for name in ("titles", "bare"):
        (tmp_path / name).mkdir()
    with Node.open(build_titles(tmp_path / "titles")) as node:
        page = node.ask("search", user=3, query="space opera", limit=3)
        assert page.status == "OK" and page.ids[0] == 100 and page.highlights and page.facets
        off = {name for name, state in states(page).items() if state == "disabled"}
        assert off == {"near", "liking", "ssd"}
    with Node.open(built(tmp_path / "bare", BARE)) as node:
        page = node.ask("search", query="space")
        assert page.status == "OK" and len(page) == 0
        why = {entry.name: entry.why for entry in page.coverage if entry.state == "disabled"}
        assert "text columns" in why["text"] and "no space" in why["near"] and "text columns" in why["chosen"]
        assert "events" in why["known"]
