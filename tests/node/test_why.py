"""What became of an item: every fate, and each source's distance to its cut-off, against what the page says."""

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import BLOCKED, DIM, SEEN, build_store, films, node_with, vector, write_config
from node_process import running

from mixline.node import Client
from mixline.node.errors import BadRequest
from mixline.tools.why import why as command

NEW = 900_001
TRIED = """
limit = 5
[[source]]
name = "taste"
kind = "nearest"
space = "taste"
query = "given"
limit = 20
[[source]]
name = "popular"
kind = "popular"
limit = 10
[[source]]
name = "similar"
kind = "item_to_item"
query = "recent"
limit = 10
{filters}
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "taste.score" = 1.0, "popular.score" = 2.0 }}
[[selector]]
kind = "topk"
by = "final"
"""
YEAR = '[[filter]]\nkind = "predicate"\nname = "young"\nwhere = "year >= 1980"\n'
LATE = '[[filter]]\nkind = "predicate"\nname = "near"\nwhere = "taste.score >= 0"\n'
SURFACES = {
    "plain": TRIED.format(filters=""),
    "inside": TRIED.format(filters=SEEN + BLOCKED + YEAR),
    "late": TRIED.format(filters=LATE),
}
IDS = [film["id"] for film in films()]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("why")
    with node_with(build_store(folder), folder, **SURFACES) as opened:
        opened.apply(
            [
                {"op": "upsert_item", "id": NEW, "columns": {"year": 2025}, "vectors": {"taste": vector(3)}},
                {"op": "delete_item", "id": IDS[7]},
                {"op": "block", "user": 1, "item": IDS[8]},
                {"op": "block", "item": IDS[9]},
            ]
        )
        yield opened


def asked(node, surface, user=1, **more):
    rng = np.random.default_rng(4)
    return node.ask(surface, user=user, vector=rng.standard_normal(DIM).astype(np.float32), **more)


def test_fates_of_all_items_are_those_of_the_page(node):
    """Of every item one fate, conserved: what the page has is served, and counts are those of the coverage."""
    everything = [*IDS, NEW]
    found = {}
    for start in range(0, len(everything), 100):
        page = asked(node, "plain", why=everything[start : start + 100])
        found |= {one["id"]: one for one in page.why}
    served = sorted((one["place"], one["id"]) for one in found.values() if one["fate"] == "served")
    assert [one for _, one in served] == page.ids.tolist()
    fates = [one["fate"] for one in found.values()]
    assert fates.count("deleted") == 1 and found[IDS[7]]["fate"] == "deleted"
    reserve = [one for one in found.values() if one["fate"] == "reserve"]
    assert sorted(one["place"] for one in reserve) == list(range(1, len(reserve) + 1))
    brought = {one["id"] for one in found.values() if any(s["brought"] for s in one.get("sources", {}).values())}
    assert brought == {one["id"] for one in found.values() if one["fate"] in ("served", "reserve")}
    for name, count in (("taste", 20), ("popular", 10), ("similar", 10)):
        entry = next(entry for entry in page.coverage if entry.name == name)
        mine = [one["sources"][name] for one in found.values() if "sources" in one]
        assert sum(one["brought"] for one in mine) == entry.taken == count
        cutoff = mine[0]["cutoff"]
        assert cutoff == min(one["score"] for one in mine if one["brought"])
        assert all(one["score"] is None or one["score"] <= cutoff for one in mine if not one["brought"])
    assert all(one["sources"]["taste"]["score"] is not None for one in found.values() if "sources" in one)


def test_terms_and_columns_are_those_of_explain(node):
    page = asked(node, "plain", explain=True, why=[int(one) for one in asked(node, "plain").ids])
    for told, explained in zip(page.why, page.explain, strict=True):
        assert told["terms"] == explained["terms"] and told["columns"] == explained["columns"]


def test_what_filters_leave_out_inside_the_sources(node):
    old = next(film["id"] for film in films() if (film["year"] or 0) < 1980 and film["id"] not in IDS[:10])
    seen = {film["id"] for film in films()} - set(node.ask("inside", user=1, vector=vector(1), limit=300).ids.tolist())
    page = asked(node, "inside", why=[IDS[8], IDS[9], old, NEW])
    by = {one["id"]: (one["fate"], one.get("by", [])) for one in page.why}
    assert "blocked" in by[IDS[8]][1] and "blocked" in by[IDS[9]][1] and by[IDS[8]][0] == "left_out"
    assert by[old][0] == "left_out" and "young" in by[old][1]
    assert by[NEW][0] in ("served", "reserve", "not_retrieved") and seen
    other = asked(node, "inside", user=2, why=[IDS[8]])
    assert "blocked" not in other.why[0].get("by", [])


def test_what_a_late_filter_drops(node):
    page = asked(node, "late", limit=50, why=IDS[:100])
    dropped = [one for one in page.why if one["fate"] == "dropped"]
    assert dropped and all(one["by"] == ["near"] for one in dropped)
    assert all(one["columns"]["taste.score"] is None or one["columns"]["taste.score"] < 0 for one in dropped)


def test_groups_have_an_entry_each(node):
    users = [1, 2, 39]
    page = node.ask("inside", users=users, vector=vector(2), why=[IDS[8], 5])
    assert [(one["group"], one["id"]) for one in page.why] == [(g, i) for g in range(3) for i in (IDS[8], 5)]
    assert [one["fate"] for one in page.why if one["id"] == 5] == ["unknown"] * 3


def test_bad_input(node):
    with pytest.raises(BadRequest, match="why: 101 ids; give 1 to 100"):
        asked(node, "plain", why=IDS[:101])
    with pytest.raises(BadRequest, match="why: 0 ids"):
        asked(node, "plain", why=[])
    assert asked(node, "plain").why is None


def test_the_command_and_the_client(tmp_path):
    store = build_store(tmp_path)
    plain = SURFACES["plain"].replace('"given"', '"user"')
    with running(tmp_path, store=store, workers=1, serve=["--config", write_config(tmp_path, plain=plain)]) as node:
        with Client(node.endpoint) as client:
            first = int(client.ask("plain", user=1).ids[0])
            assert client.why_not("plain", first, user=1)["place"] == 1
        run = CliRunner().invoke
        told = run(command, ["plain", str(first), "--endpoint", node.endpoint, "--user", "1"])
        assert told.exit_code == 0, told.output
        assert f"{first}: served, place 1 on the page" in told.output and "final: taste.score" in told.output
        nobody = run(command, ["plain", "5", "--endpoint", node.endpoint, "--user", "1"])
        assert "5: the store has no such item" in nobody.output
        assert run(command, ["plain", "5", "--endpoint", node.endpoint, "--json"]).output.startswith("{")
