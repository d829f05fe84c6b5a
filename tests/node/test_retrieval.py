"""Nearest items by every way that the planner takes: recall under filters, several vectors, and what coverage says."""

import time

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import node_with

from mixline.kernels import reference
from mixline.kernels.accumulate import Scratch
from mixline.kernels.bitmap import all_rows, clear_rows
from mixline.node import space_search
from mixline.node.call import Call
from mixline.node.errors import BadRequest, ConfigError
from mixline.node.inprocess import never
from mixline.node.page import Coverage
from mixline.node.request import Ask, prepare
from mixline.node.retrieval_plan import Plan, graph_plan, lists_plan
from mixline.node.space_search import SpaceSearch
from mixline.storage.store import Store
from mixline.tools.build import build

ITEMS, USERS, VECTORS, DIM, K = 6000, 30, 3, 20, 25
SPACES = {"lists": ("ivf", "dot"), "graph": ("graph", "l2"), "plain": ("exact", "cosine")}
SPEC = """
[items]
path = "items.csv"
id = "id"
columns = {{ share = "f32", kind = "category" }}
[users]
path = "users.csv"
id = "id"
[events]
path = "events.csv"
user = "user"
item = "item"
{spaces}
"""
SURFACE = """
deadline_ms = 5000
[[source]]
name = "near"
kind = "nearest"
space = "{space}"
query = "{query}"
index = "{index}"
recall = {recall}
limit = 25
{filters}
[[selector]]
kind = "topk"
by = "near.score"
"""
BELOW = '[[filter]]\nkind = "predicate"\nwhere = "share < params.most"\n'
PLANS = {"lists": lists_plan, "graph": graph_plan}
SHARES = [0.004, 0.01, 0.1, 0.5, 1.0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    rng = np.random.default_rng(3)
    middles = 2.0 * rng.standard_normal((60, DIM))
    items = middles[rng.integers(0, 60, ITEMS)] + rng.standard_normal((ITEMS, DIM))
    users = middles[rng.integers(0, 60, (USERS, VECTORS))] + rng.standard_normal((USERS, VECTORS, DIM))
    users[::2, 2] = 0.0  # two vectors alone
    users[4] = 0.0  # none
    np.save(folder / "items.npy", items.astype(np.float32))
    np.save(folder / "users.npy", users.astype(np.float32))
    shares = rng.permutation(ITEMS) / ITEMS
    lines = [f"{10 + at},{share:.6f},{'ab'[at % 2]}\n" for at, share in enumerate(shares)]
    (folder / "items.csv").write_text("id,share,kind\n" + "".join(lines))
    (folder / "users.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(USERS)))
    events = [f"{rng.integers(USERS)},{10 + rng.integers(ITEMS)}\n" for _ in range(2000)]
    (folder / "events.csv").write_text("user,item\n" + "".join(events))
    spaces = [
        f'[spaces.{name}]\nitems = "items.npy"\nusers = "users.npy"\nindex = "{index}"\nmetric = "{metric}"\n'
        for name, (index, metric) in SPACES.items()
    ]
    (folder / "spec.toml").write_text(SPEC.format(spaces="".join(spaces)))
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return folder / "store"


@pytest.fixture(scope="module")
def epoch(store):
    with Store(store).open() as opened:
        yield opened


@pytest.fixture
def node(store, tmp_path):
    """Opens a node with one surface, given by its keys, and closes it."""
    opened = []

    def make(**keys):
        values = {"space": "lists", "query": "user", "index": "auto", "recall": 0.99, "filters": ""} | keys
        opened.append(node_with(store, tmp_path, near=SURFACE.format(**values)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def words_of(mask):
    words = all_rows(len(mask))
    clear_rows(words, np.flatnonzero(~mask).astype(np.uint32))
    return words


def a_call(epoch, pulse=never, deadline_ns=None):
    call = Call(Ask(user=1), epoch, Scratch(), deadline_ns or time.monotonic_ns() + 10**12, pulse)
    call.entry = Coverage("near", "source", "nearest")
    return call


def best_of_all(epoch, space, vectors, k, mask=None):
    """Rows and scores by the twin: of several vectors the best score of each item."""
    scores = {}
    for vector in vectors:
        rows, found = reference.scan(
            space.items, vector, k, epoch.items.keys, space.metric, space.item_norms, allowed=mask
        )
        for row, score in zip(rows.tolist(), found.tolist(), strict=True):
            scores[row] = max(score, scores.get(row, score))
    return sorted(scores, key=lambda row: (-scores[row], epoch.items.keys[row]))[:k]


def vectors_of(space, user):
    rows = space.users[user * VECTORS : (user + 1) * VECTORS]
    return rows[rows.any(axis=1)]


def recall_of(epoch, space, search, plan, mask):
    """The mean over users of the share of the true nearest allowed rows."""
    words, found, wanted = words_of(mask), 0, 0
    for user in range(USERS):
        for vector in vectors_of(space, user):
            truth = best_of_all(epoch, space, [vector], search.k, mask)
            call = a_call(epoch)
            got = search.run(call, plan, np.ascontiguousarray(vector), words).rows
            assert not call.degraded and mask[got].all() and len(set(got.tolist())) == len(got)
            found += len(np.intersect1d(got, truth))
            wanted += len(truth)
    return found / wanted


@pytest.mark.parametrize(
    ("name", "plan_of", "share"),
    [
        (name, plan_of, share)
        for name, plan_of in PLANS.items()
        for share in (0.15, 0.5, 1.0)
        if name == "lists" or share >= 0.5
    ],
)
def test_recall_of_an_index_does_not_fall_with_what_is_allowed(epoch, name, plan_of, share):
    space = epoch.spaces[name]
    search = SpaceSearch(epoch, space, K, "auto", 0.99)
    mask = np.random.default_rng(1).random(ITEMS) < share
    plan = plan_of(search.offer, space.indexes[0], search.k, int(mask.sum()), 0.99)
    assert plan is not None and recall_of(epoch, space, search, plan, mask) >= 0.98


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("space", "index"), [("lists", "ivf"), ("graph", "graph"), ("plain", "exact")])
def test_recall_of_a_node_does_not_fall_with_a_predicate(node, epoch, space, index, share):
    serving = node(space=space, index=index, filters=BELOW)
    of, mask, found, wanted = epoch.spaces[space], epoch.items.columns["share"].values < share, 0, 0
    for user in range(USERS):
        page = serving.ask("near", user=user, params={"most": share})
        truth = best_of_all(epoch, of, vectors_of(of, user), K, mask)
        assert page.status == "OK" and len(page) == len(truth)
        found += len(np.intersect1d(epoch.items.rows_of(page.ids), truth))
        wanted += len(truth)
    assert found / wanted >= (1.0 if index == "exact" else 0.98)


@pytest.mark.parametrize("name", ["lists", "graph"])
def test_what_no_list_or_walk_comes_to_is_scanned(epoch, name):
    """The allowed rows lie far from the query, all of them together."""
    space = epoch.spaces[name]
    search = SpaceSearch(epoch, space, K, "auto", 0.99)
    vector = np.ascontiguousarray(space.items[0])
    far = np.argsort(space.items @ vector if space.metric == "dot" else -((space.items - vector) ** 2).sum(axis=1))
    mask = np.isin(np.arange(ITEMS), far[: 2 * K])
    call = a_call(epoch)
    plan = Plan({"lists": "ivf", "graph": "graph"}[name], 1 if name == "lists" else K, 2 * K, 0.0)
    got = search.run(call, plan, vector, words_of(mask))
    assert got.rows.tolist() == best_of_all(epoch, space, [vector], K, mask)
    assert call.entry.how.endswith("; too few found: float32 rows")


@pytest.mark.parametrize("by", ["places", "rows"])
def test_a_filter_that_goes_against_the_query_is_scanned(epoch, by):
    """More than k of the allowed rows lie in the lists, but fewer than of any filter that knows nothing of vectors."""
    space = epoch.spaces["lists"]
    search = SpaceSearch(epoch, space, K, "auto", 0.99)
    vector, lists = np.ascontiguousarray(space.items[0]), len(space.item_lists.starts) - 1
    every = search.lists.search(vector, ITEMS, lists // 2, keep=ITEMS)[0]
    mask = np.ones(ITEMS, dtype=bool)
    mask[every[: -2 * K]] = False  # of the near half the farthest
    plan = Plan("ivf", lists // 2, 2 * K, 0.0, by, mask.sum() / 2)
    call = a_call(epoch)
    got = search.run(call, plan, vector, words_of(mask))
    assert K < search.lists.sifted < plan.left / 2
    assert got.rows.tolist() == best_of_all(epoch, space, [vector], K, mask)
    assert call.entry.how == f"ivf: {plan.width} lists, by {by}; too few found: float32 rows"
    mask = np.random.default_rng(1).random(ITEMS) < 0.1
    call, plan = a_call(epoch), plan._replace(left=mask.sum() / 2)
    found = search.run(call, plan, vector, words_of(mask)).rows
    assert call.entry.how == f"ivf: {plan.width} lists, by {by}"
    assert len(np.intersect1d(found, best_of_all(epoch, space, [vector], K, mask))) >= 0.9 * K


def test_lists_of_an_earlier_release_are_sifted_by_places(epoch):
    """They do not say which list a row is in."""
    space = epoch.spaces["lists"]
    search = SpaceSearch(epoch, space, K, "auto", 0.99)
    mask = np.random.default_rng(1).random(ITEMS) < 0.1
    plan, found = Plan("ivf", 30, 2 * K, 0.0, "rows", 1.0), {}
    for search.knows_lists in (True, False):
        call = a_call(epoch)
        rows = search.run(call, plan, np.ascontiguousarray(space.items[0]), words_of(mask)).rows
        found[call.entry.how] = rows.tolist()
    assert found["ivf: 30 lists, by rows"] == found["ivf: 30 lists, by places"]


@pytest.mark.parametrize(("space", "how"), [("lists", "ivf: "), ("graph", "graph: width "), ("plain", "exact: ")])
def test_coverage_says_which_way_was_taken(node, space, how):
    entry = node(space=space, index=space.replace("lists", "ivf").replace("plain", "exact")).ask("near", user=1)
    assert entry.coverage[0].how.startswith(how) and entry.coverage[0].queries == VECTORS


def test_an_exact_answer_is_certified_and_says_what_that_cost(node):
    entry = node(index="exact").ask("near", user=1).coverage[0]
    assert entry.how == "exact: int8 codes" and entry.queries == entry.scanned == entry.certified == VECTORS
    assert entry.wanted == VECTORS * K <= entry.kept


@pytest.mark.parametrize("recall", [1.0, 0.9])
def test_recall_of_one_is_exact(node, epoch, recall):
    space = epoch.spaces["lists"]
    page = node(index="ivf", recall=recall).ask("near", user=3)
    assert (page.coverage[0].how == "exact: int8 codes") == (recall == 1.0)
    if recall == 1.0:
        assert epoch.items.rows_of(page.ids).tolist() == best_of_all(epoch, space, vectors_of(space, 3), K)


def test_an_item_has_the_best_score_of_all_vectors_of_a_user(node, epoch):
    serving, space = node(space="plain", query="user"), epoch.spaces["plain"]
    for user in range(USERS):
        page = serving.ask("near", user=user)
        rows = best_of_all(epoch, space, vectors_of(space, user), K)
        assert epoch.items.rows_of(page.ids).tolist() == rows and (len(rows) > 0) == (user != 4)
        if len(rows):
            parts = [
                reference.scan(space.items[rows], one, K, epoch.items.keys[rows], "cosine", space.item_norms[rows])
                for one in vectors_of(space, user)
            ]
            scores = [part[1][np.argsort(part[0])] for part in parts]
            assert page.scores.tolist() == np.max(scores, axis=0).tolist()


def test_users_together_get_what_each_gets_alone(node):
    for space in SPACES:
        serving = node(space=space)
        page = serving.ask("near", users=list(range(USERS)))
        for user in range(USERS):
            alone = serving.ask("near", user=user)
            here = slice(page.groups[user], page.groups[user + 1])
            assert page.ids[here].tolist() == alone.ids.tolist()
            assert page.scores[here].tobytes() == alone.scores.tobytes()


def test_vectors_of_a_client_are_merged_too(node, epoch):
    serving, space = node(space="plain", query="given"), epoch.spaces["plain"]
    vectors = np.random.default_rng(5).standard_normal((4, DIM)).astype(np.float32)
    vectors[2] = 0.0
    page = serving.ask("near", vector=vectors)
    assert epoch.items.rows_of(page.ids).tolist() == best_of_all(epoch, space, vectors[[0, 1, 3]], K)
    assert serving.ask("near", vector=vectors.tolist()).ids.tolist() == page.ids.tolist()
    alone = serving.ask("near", vector=vectors[0])
    assert alone.ids.tolist() == serving.ask("near", vector=vectors[:1]).ids.tolist()


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        (np.ones((2, DIM + 1), np.float32), f"2 vectors of {2 * DIM + 2} numbers"),
        (np.ones((65, DIM), np.float32), "give 1 to 64"),
        (np.ones(2 * DIM, np.float32), f"vector of {2 * DIM} dimensions"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(node, vector, said):
    with pytest.raises(BadRequest, match=said):
        node(query="given").ask("near", vector=vector)


def test_a_matrix_without_rows_is_refused():
    with pytest.raises(BadRequest, match="one vector, or a matrix"):
        prepare("near", vector=np.zeros((0, DIM)))


@pytest.mark.parametrize("space", SPACES)
def test_items_asked_about_are_left_out_on_every_way(node, epoch, space):
    serving = node(space=space, query="item", filters='[[filter]]\nkind = "seen"\n')
    for items in ([10], [10, 11, 500], [10, 10]):
        page = serving.ask("near", items=items, user=2)
        rows = epoch.items.rows_of(page.ids)
        assert len(page) == K and not set(items) & set(page.ids.tolist())
        assert not np.isin(rows, epoch.seen(2)).any()


@pytest.mark.parametrize(("space", "index"), [("plain", "ivf"), ("lists", "graph"), ("graph", "ivf")])
def test_an_index_that_is_not_there_is_refused(node, space, index):
    with pytest.raises(ConfigError) as refused:
        node(space=space, index=index)
    assert f"index = {index!r}: space {space!r} has" in str(refused.value)
    assert f'build it with index = "{index}"' in str(refused.value)


def test_a_recall_that_is_none_is_refused(node):
    with pytest.raises(ConfigError, match=r"recall = 1\.5"):
        node(recall=1.5)


@pytest.mark.parametrize(
    ("name", "plan"), [("lists", Plan("ivf", 300, 60, 0.0)), ("graph", Plan("graph", 400, 0, 0.0))]
)
def test_the_deadline_ends_an_approximate_search_with_its_best_so_far(epoch, monkeypatch, name, plan):
    monkeypatch.setattr(space_search, "SLICE_HOPS", 2)
    search = SpaceSearch(epoch, epoch.spaces[name], K, "auto", 0.99)
    search.slice_lists = 2
    vector = np.ascontiguousarray(epoch.spaces[name].users[0])
    pulses = iter([False, False])
    call = a_call(epoch, lambda: next(pulses, True))
    some = search.run(call, plan, vector, None)
    assert len(call.degraded) == 1 and call.degraded[0].startswith("deadline after ")
    whole = search.run(a_call(epoch), plan, vector, None)
    assert (
        0 < len(some.rows) <= len(whole.rows) == K
        and call.entry.how == f"{plan.way}: " + {"ivf": "300 lists", "graph": "width 400"}[plan.way]
    )


def test_company_and_order_change_no_answer(node):
    rng = np.random.default_rng(2)
    for space in SPACES:
        serving = node(space=space, filters=BELOW)
        asks = [
            {"surface": "near", "user": int(user), "params": {"most": float(rng.choice([0.02, 0.3, 0.6, 1.0]))}}
            for user in rng.integers(0, USERS, 40)
        ]
        for ask, page in zip(asks, serving.ask_many(asks), strict=True):
            alone = serving.ask(**ask)
            assert page.ids.tolist() == alone.ids.tolist() and page.scores.tobytes() == alone.scores.tobytes()
            assert page.coverage[0].how == alone.coverage[0].how
