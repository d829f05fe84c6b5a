"""Components that wait: at the same time, not for ever, and without a trace of what came too late."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from film_store import near, node_with, write_config
from node_process import running, wait_until
from odd_components import GATES

from mixline.node import Client
from mixline.node.errors import BadRequest, ConfigError, InternalError, RequestTimeout
from mixline.node.guarding import Cost, allotted
from mixline.node.threads import THREADS

SOURCE = '[[source]]\nname = "{name}"\nkind = "odd_components.{kind}"\ngate = "{gate}"\n{more}'
HYDRATOR = '[[hydrator]]\nname = "{name}"\nkind = "odd_components.MeetingHydrator"\ngate = "{gate}"\n{more}'
FINAL = '[[scorer]]\nname = "final"\nkind = "weighted"\nterms = {{ {terms} }}\n'


def source(name, gate, kind="MeetingSource", more="blocking = true\n"):
    return SOURCE.format(name=name, gate=gate, kind=kind, more=more)


def hydrator(name, gate, more=""):
    return HYDRATOR.format(name=name, gate=gate, more=f'blocking = true\ncolumn = "{name}"\n{more}')


def entries(page):
    return {entry.name: entry for entry in page.coverage}


@pytest.fixture
def node(film_store, tmp_path):
    opened = []
    GATES.clear()

    def make(**surfaces):
        # a warm-up runs each surface once: by then gates stand open
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mixline.node.engine.Engine.warm_up", lambda self: None)
            opened.append(node_with(film_store, tmp_path, **surfaces))
        return opened[-1]

    yield make
    for one in GATES.values():
        one.set() if isinstance(one, threading.Event) else one.abort()
    wait_until(lambda: not any(THREADS.held.values()))
    for one in opened:
        one.close()


def test_sources_wait_at_the_same_time(node):
    GATES["both"] = threading.Barrier(2)
    page = node(both=near() + source("one", "both") + source("other", "both")).ask("both", user=1)
    assert page.status == "OK" and [entry.name for entry in page.coverage[:3]] == ["taste", "one", "other"]
    assert entries(page)["one"].taken == entries(page)["other"].taken == 3


def test_what_does_not_come_back_harms_itself_alone(node):
    GATES["shut"] = threading.Event()
    surface = near() + source("stuck", "shut")
    serving = node(
        stuck=surface, plain=near(), fails=surface.replace('gate = "shut"', 'gate = "shut"\non_error = "fail"')
    )
    plain = serving.ask("plain", user=1)
    for again in range(1, 5):
        page = serving.ask("stuck", user=1, deadline_ms=50)
        entry = entries(page)["stuck"]
        assert page.status == "DEGRADED" and page.ids.tolist() == plain.ids.tolist()
        assert entry.state == "failed" and f"({again} of its runs are not)" in entry.why
    page = serving.ask("stuck", user=1, deadline_ms=50)
    assert entries(page)["stuck"].why == "not started: 4 earlier runs of it have not come back"
    with pytest.raises(InternalError, match=r"stuck.*not started"):
        serving.ask("fails", user=1, deadline_ms=50)
    GATES["shut"].set()
    wait_until(lambda: not any(THREADS.held.values()))
    assert entries(serving.ask("stuck", user=1))["stuck"].state == "ok"


def test_what_comes_too_late_leaves_no_trace(node):
    GATES["shut"], GATES["shut.back"] = threading.Event(), threading.Event()
    surface = near().replace("taste.score", "final") + hydrator("late", "shut")
    serving = node(late=surface + FINAL.format(terms='"taste.score" = 1.0, late = 100.0'), plain=near())
    page = serving.ask("late", user=1, deadline_ms=50, explain=True)
    assert page.status == "DEGRADED" and entries(page)["late"].why.startswith("deadline: not back after ")
    assert page.scores.tolist() == serving.ask("plain", user=1).scores.tolist()
    GATES["shut"].set()
    assert GATES["shut.back"].wait(20)
    assert all(entry["columns"]["late"] is None for entry in page.explain)
    assert serving.ask("late", user=1).scores.tolist() == pytest.approx((page.scores + 100).tolist())


def test_hydrators_that_read_one_another_run_in_order_and_others_at_once(node):
    GATES["open"], GATES["both"] = threading.Event(), threading.Barrier(2)
    GATES["open"].set()
    inline = '[[hydrator]]\nname = "half"\nkind = "odd_components.HalfHydrator"\n'
    chain = hydrator("a", "both") + hydrator("b", "open", 'after = "a"\n') + inline + hydrator("c", "both")
    surface = near().replace("taste.score", "final") + chain
    page = node(chain=surface + FINAL.format(terms="a = 1.0, b = 10.0, c = 100.0, half = 0.0")).ask("chain", user=1)
    assert page.status == "OK" and set(page.scores.tolist()) == {121.0}
    assert [entry.name for entry in page.coverage[1:5]] == ["a", "b", "half", "c"]


def test_filters_that_wait_look_at_what_the_others_left(node):
    GATES["both"] = threading.Barrier(2)
    waiting = '[[filter]]\nname = "{}"\nkind = "odd_components.MeetingFilter"\nblocking = true\ngate = "both"\n'
    even = '[[filter]]\nname = "even"\nkind = "odd_components.EvenFilter"\n'
    page = node(sifted=near("user", waiting.format("one"), even, waiting.format("other"))).ask("sifted", user=1)
    found = entries(page)
    alive = found["even"].taken
    assert page.status == "OK" and found["one"].how == found["other"].how == f"{alive} alive"
    assert found["one"].taken == len(page) == alive - found["one"].left and found["other"].left == 0
    assert [entry.name for entry in page.coverage[1:4]] == ["one", "even", "other"]


def test_coroutines_run_and_are_cancelled(node):
    GATES["shut"], GATES["shut.cancelled"] = threading.Event(), threading.Event()
    surface = near() + source("far", "shut", "AsyncMeetingSource", "")
    serving = node(far=surface, scored=near().replace("taste.score", "s") + SCORED)
    page = serving.ask("far", user=1, deadline_ms=50)
    assert entries(page)["far"].state == "failed" and page.status == "DEGRADED"
    assert GATES["shut.cancelled"].wait(20)
    wait_until(lambda: not any(THREADS.held.values()))
    GATES["shut"].set()
    assert entries(serving.ask("far", user=1))["far"].taken == 3
    page = serving.ask("scored", user=1)
    assert page.status == "OK" and page.scores.tolist() == sorted(page.scores.tolist(), reverse=True)


SCORED = '[[scorer]]\nname = "s"\nkind = "odd_components.AsyncScorer"\n'


def test_the_best_alone_may_be_scored_elsewhere(node):
    best = SCORED + 'best = { count = 7, by = "taste.score" }\n'
    page = node(best=near().replace("taste.score", "s") + best).ask("best", user=1)
    assert page.status == "OK" and np.isfinite(page.scores).sum() == 7 and entries(page)["s"].taken == 7


def test_a_query_is_understood_elsewhere_and_refused_there(node):
    hydrator = '[[query_hydrator]]\nname = "far"\nkind = "odd_components.MeetingQueryHydrator"\nblocking = true\n'
    serving = node(asked=near() + hydrator)
    page = serving.ask("asked", user=1, query="red")
    assert page.status == "OK" and page.spelling.startswith("red, on thread mixline-apart-")
    with pytest.raises(BadRequest, match="no such query"):
        serving.ask("asked", user=1, query="wrong")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('[[source]]\nkind = "popular"\nblocking = true\n', "components of your own"),
        ('[[selector]]\nkind = "odd_components.BlockingSelector"\n', "blocking: a selector runs in the worker"),
        ('[[side_effect]]\nkind = "odd_components.AsyncSideEffect"\n', "async def after: a side_effect runs in"),
    ],
)
def test_where_nothing_may_wait(node, table, why):
    with pytest.raises(ConfigError, match=why):
        node(odd=near() + table)


def test_threads_are_counted(node):
    counted = []
    GATES["shut"] = threading.Event()
    serving = node(stuck=near() + source("counted", "shut"))
    try:
        THREADS.tell = counted.append
        serving.ask("stuck", user=1, deadline_ms=50)
    finally:
        THREADS.tell = lambda _: None
    assert counted == ["given_up"]


def test_what_nobody_reads_is_not_made(node):
    half = '[[hydrator]]\nname = "odd"\nkind = "odd_components.HalfHydrator"\n'
    liking = '[[scorer]]\nname = "liking"\nkind = "weighted"\nterms = { half = 1.0 }\n'
    reading = '[[scorer]]\nname = "s"\nkind = "odd_components.ReadingScorer"\n'
    journal = '[[side_effect]]\nkind = "journal"\n'
    by_half = FINAL.format(terms="half = 1.0")
    serving = node(
        unread=near() + half + liking,
        read=near().replace("taste.score", "final") + half + by_half,
        journalled=near() + half + journal,
        named=near() + half + journal + 'columns = ["taste.score"]\n',
        anything=near().replace("taste.score", "s") + half + reading,
    )

    def states(surface, **asked):
        page = serving.ask(surface, user=1, **asked)
        assert page.status == "OK"
        return {name: (entry.state, entry.why) for name, entry in entries(page).items() if name in ("odd", "liking")}

    odd = ("disabled", "nobody reads 'half', 'strided'")
    assert states("unread") == {"odd": odd, "liking": ("disabled", "nobody reads 'liking'")}
    assert states("unread", explain=True)["odd"] == states("unread", why=[1000])["odd"] == ("ok", "")
    assert states("named")["odd"] == odd
    assert states("read")["odd"] == states("journalled")["odd"] == states("anything")["odd"] == ("ok", "")


@pytest.mark.parametrize("blocking", ["true", "false"])
def test_the_order_in_the_file_does_not_matter(node, blocking):
    def one(name, after):
        return (
            f'[[hydrator]]\nname = "{name}"\nkind = "odd_components.MeetingHydrator"\ncolumn = "{name}"\n'
            f'after = "{after}"\nblocking = {blocking}\n'
        )

    surface = near().replace("taste.score", "final") + one("c", "b") + one("a", "") + one("b", "a")
    total = '[[scorer]]\nname = "total"\nkind = "weighted"\nterms = { b = 10.0, c = 100.0 }\n'
    serving = node(
        turned=surface + FINAL.format(terms="total = 1.0, a = 1.0") + total,
        circle=near(),
    )
    page = serving.ask("turned", user=1)
    assert page.status == "OK" and set(page.scores.tolist()) == {321.0}
    assert [entry.name for entry in page.coverage[1:6]] == ["c", "a", "b", "final", "total"]
    assert [step.name for step in serving.engine.pipelines["turned"].as_asked()][1:6] == [
        "a",
        "b",
        "c",
        "total",
        "final",
    ]
    with pytest.raises(ConfigError, match=r"hydrator 'x': reads column 'y', which nothing before it writes: 'y' does"):
        node(circle=near() + one("x", "y") + one("y", "x"))


def test_time_is_kept_for_what_comes_behind():
    step = SimpleNamespace(cost=Cost(), component=SimpleNamespace(share=1.0), waits=False)
    call = SimpleNamespace(deadline_ns=1000, ahead_ns=300.0)
    assert allotted(call, step, 0) == 1000  # nothing is known of it yet
    for _ in range(200):
        step.cost.note(100)
    assert step.cost.need_ns == pytest.approx(100)
    assert allotted(call, step, 0) == 700 and allotted(call, step, 500) == 700
    assert allotted(call, step, 800) == 850  # 200 for 400: a quarter of what is left
    step.component.share = 0.5
    assert allotted(call, step, 0) == 500
    step.component.share, step.waits = 1.0, True
    assert allotted(call, step, 0) == 700 and allotted(call, step, 920) == 960
    call.ahead_ns = 0.0
    assert allotted(call, step, 200) == 900  # never all of it
    step.cost.note(1700)
    assert step.cost.mean_ns == pytest.approx(200) and step.cost.need_ns == pytest.approx(400)


def test_time_is_kept_for_what_is_shown(node):
    shows = '[[source]]\nname = "taste"\nkind = "odd_components.ShowingSource"\n'
    serving = node(shows=shows + '[[selector]]\nkind = "topk"\nby = "taste.score"\n')
    for _ in range(3):
        page = serving.ask("shows", user=1)
    retrieving, showing = map(int, page.spelling.split())
    assert showing - retrieving > 9_000_000  # ns: the .01 s that showing took before
    [(_, step)] = serving.engine.pipelines["shows"].presenting
    assert step.cost.mean_ns > 9_000_000 > serving.engine.pipelines["shows"].sources[0].cost.mean_ns


def test_short_time_is_told_as_such(node):
    GATES["shut"] = threading.Event()
    serving = node(all="min_coverage = 1.0\n" + near() + source("timed", "shut"))
    with pytest.raises(RequestTimeout, match=r"1 of 2 sources answered.*without 'timed' \(deadline: not back"):
        serving.ask("all", user=1, deadline_ms=50)


SLOW = """
[[source]]
name = "slow"
kind = "odd_components.SlowSource"
hogs = {hogs}
blocking = {blocking}
"""


class Neighbours:
    """Clients of another surface, who ask on and on."""

    def __init__(self, endpoint, count):
        self.over, self.faults, self.asked = threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.ask, args=(endpoint,)) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def ask(self, endpoint):
        with Client(endpoint) as client:
            while not self.over.wait(0.005):
                try:
                    page = client.ask("near", user=1, deadline_ms=30_000)
                    assert page.status == "OK" and len(page)
                    self.asked += 1
                except Exception as error:  # noqa: BLE001  # any failure is what is looked for
                    self.faults.append(repr(error))

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("hogs", ["false", "true"], ids=["sleeps", "computes"])
def test_neighbours_of_what_is_slow_lose_nothing(film_store, tmp_path, hogs):
    config = write_config(
        tmp_path,
        near=near(),
        marked=near() + SLOW.format(hogs=hogs, blocking="true"),
        unmarked=near() + SLOW.format(hogs=hogs, blocking="false"),
    )
    with running(tmp_path, store=film_store, serve=["--config", config]) as node, Client(node.endpoint) as client:
        neighbours = Neighbours(node.endpoint, 2)
        try:
            before = set(node.worker_pids())
            for _ in range(2):
                page = client.ask("marked", user=1, deadline_ms=1200)
                assert page.status == "DEGRADED" and len(page) and "deadline" in entries(page)["slow"].why
            assert set(node.worker_pids()) == before
            with pytest.raises(RequestTimeout):
                client.ask("unmarked", user=1, deadline_ms=400)
            wait_until(lambda: set(node.worker_pids()) != before)  # who hangs is replaced
            node.wait_settled()
            counted = neighbours.asked
            wait_until(lambda: neighbours.asked > counted + 20)
        finally:
            neighbours.end()
    assert neighbours.faults == []
