"""The trials' arithmetic, what their bars call met, damaged bytes that are what they say, and one small trial whole."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mixline.ipc.wire import Status
from mixline.tools.build import build
from mixline.tools.cli import command
from mixline.tools.flight import UNANSWERED, Flight
from mixline.tools.resilience import NAMES
from mixline.tools.resilience_account import SUMS, chosen, counts, crossed, failed, joined, late, p99_us
from mixline.tools.resilience_broker_kills import first_page_s
from mixline.tools.resilience_overload import goodput_min
from mixline.tools.resilience_soak import slope_mb_per_h, slopes, unexplained
from mixline.tools.resilience_verdict import Bar, conclude
from mixline.tools.resilience_wire import GREETING, READY, frame, message
from mixline.tools.resilience_zmtp import conversation, damaged

OK, TIMEOUT = Status.OK.code, Status.TIMEOUT.code
MS, S = 1_000_000, 1_000_000_000


def flight_of(status, due_ns, latency_ns, **counted):
    """A flight of one prepared ask; ``counted`` are totals such as doubled."""
    many = len(status)
    totals = dict.fromkeys(SUMS, 0)
    arrays = {"due_ns": due_ns, "status": status, "latency_ns": latency_ns}
    arrays = {name: np.array(values, np.int64) for name, values in arrays.items()}
    zeros = {name: np.zeros(many, np.int64) for name in ("which", "lateness_ns", "reply_bytes", "attempt")}
    return Flight(**{**totals, **arrays, **zeros, "bodies": {}, "sent": many, **counted})


def test_flights_add_up():
    one = flight_of([OK, UNANSWERED], [0, S], [MS, 0], doubled=1)
    two = flight_of([TIMEOUT], [0], [51 * MS], strangers=2)
    both = joined([one, two])
    assert counts(both.status) == {"OK": 1, "UNANSWERED": 1, "TIMEOUT": 1}
    assert failed(both).tolist() == [False, True, True] and crossed(both) == 3
    assert late(both, np.array([40_000.0]), 10) == 1 and late(both, np.array([40_000.0]), 12) == 0
    assert p99_us(both) == 1000 and p99_us(chosen(both, failed(both))) is None


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (Bar("", 2.0, 2.0), True),
        (Bar("", 2.1, 2.0), False),
        (Bar("", 2.1, 2.0, at_most=False), True),
        (Bar("", 1.9, 2.0, at_most=False), False),
        (Bar("", None, 2.0), False),
        (Bar("", float("nan"), 2.0), False),
    ],
)
def test_a_bar_is_met_by_a_figure_only(bar, met):
    assert bar.met is met


def test_the_verdict_is_the_exit_code(capsys):
    for bars, code in (([Bar("a", 1, 1)], 0), ([Bar("a", 1, 1), Bar("b", None, 1)], 1), ([], 1)):
        with pytest.raises(SystemExit) as ended:
            conclude("x", {"figure": 3}, bars, True)
        out = json.loads(capsys.readouterr().out)
        assert ended.value.code == code and out["passed"] is (code == 0) and out["figure"] == 3
    with pytest.raises(SystemExit):
        conclude("x", {}, [Bar("slow", 3, 1)], False)
    assert "MISSED\tslow: 3 (<= 1)" in capsys.readouterr().out


def test_growth_is_the_slope_of_what_has_settled():
    at_s = np.arange(0, 600, 2.0)
    samples = list(zip(at_s + 77, 50 + np.maximum(0, 60 - at_s) + at_s * 2 / 3600, strict=True))
    assert slope_mb_per_h(samples, 60) == pytest.approx(2.0)
    assert slope_mb_per_h(samples, 0) < -50 and slope_mb_per_h(samples[:5], 60) is None
    short = samples[:60]  # two minutes, of which one is settled
    found = slopes({1: samples, 2: samples, 3: short}, {1: "broker"}, 60)
    assert [each["process"] for each in found] == ["broker", "worker"]


def test_an_error_is_explained_by_a_death_shortly_before_or_during_it():
    flight = flight_of([TIMEOUT, TIMEOUT, TIMEOUT, OK], [0, 10 * S, 20 * S, 30 * S], [S, S, S, S])
    assert unexplained(flight, 100.0, []) == 3
    assert unexplained(flight, 100.0, [99.0]) == 2  # a second before the first
    assert unexplained(flight, 100.0, [99.0, 110.5]) == 1  # while the second was under way
    assert unexplained(flight, 100.0, [97.0, 111.5, 119.0]) == 2


def test_answering_again_counts_from_the_kill():
    flight = flight_of([OK, UNANSWERED, TIMEOUT, OK, OK], [0, S, 2 * S, 3 * S, 4 * S], [5 * S, 0, MS, 2 * S, MS])
    assert first_page_s(flight, int(0.5 * S)) == pytest.approx(3.501)
    assert first_page_s(flight, 5 * S) is None


def test_steps_have_the_bar_of_the_next_one_up():
    assert [goodput_min(times) for times in (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)] == [0.95, 0.95, 0.9, 0.9, 0.7, 0.7]


def test_frames_say_their_length():
    assert len(GREETING) == 64 and READY[0] == 4 and READY[1] == len(READY) - 2
    assert frame(b"ab") == b"\x00\x02ab" and frame(bytes(256))[:9] == b"\x02" + (256).to_bytes(8, "big")
    assert message(b"a", b"") == b"\x01\x01a\x00\x00"


def test_damage_ends_at_the_first_broken_frame():
    shape, heads = message(b"x" * 20, b"y" * 300), [0, 1, *range(22, 31)]
    for seed in range(20):
        data, many = damaged(shape, heads, 400, np.random.default_rng(seed))
        rows = np.frombuffer(data, np.uint8).reshape(many, len(shape))
        whole = (rows[:, heads] == np.frombuffer(shape, np.uint8)[heads]).all(axis=1)
        assert whole[:-1].all() and (many == 400 or not whole[-1])
        assert (rows != np.frombuffer(shape, np.uint8)).any()


def test_conversations_repeat_by_their_seed():
    known = [(message(b"x" * 20), [0, 1])]
    first, second = ([conversation(known, np.random.default_rng(4)) for _ in range(3)] for _ in range(2))
    assert first == second and all(words.many >= 1 and words.data for words in first)


@pytest.mark.parametrize("name", NAMES)
def test_every_trial_explains_itself(name):
    done = CliRunner().invoke(command, ["bench", "resilience", name, "--help"])
    assert done.exit_code == 0 and "--seed" in done.output and "--json" in done.output


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Users 0 to 199, as the trials ask for."""
    folder = tmp_path_factory.mktemp("resilience")
    rng = np.random.default_rng(2)
    for name, count in (("items", 300), ("users", 200)):
        np.save(folder / f"{name}.npy", rng.standard_normal((count, 8), dtype=np.float32))
        (folder / f"{name}.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(count)))
    (folder / "spec.toml").write_text(
        '[items]\npath = "items.csv"\nid = "id"\n[users]\npath = "users.csv"\nid = "id"\n'
        '[spaces.taste]\nitems = "items.npy"\nusers = "users.npy"\nmetric = "dot"\n'
    )
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output
    return folder / "store"


def test_two_workers_are_killed_and_nobody_gets_a_foreign_page(store, monkeypatch):
    """A whole trial; whether it was fast enough is for a quiet machine to say."""
    monkeypatch.setattr("mixline.tools.resilience_kills.SEGMENT_S", 3.0)
    words = ["kills", "--store", store, "--count", 2, "--calm", 1, "--capacity", 90, "--workers", 1, "--json"]
    done = CliRunner().invoke(command, ["bench", "resilience", *map(str, words)])
    result = json.loads(done.output.splitlines()[-1])
    assert done.exit_code in (0, 1) and result["kills"] == 2 and result["counters"]["deaths"] >= 2
    bars = {bar["bar"]: bar["met"] for bar in result["bars"]}
    assert bars["workers killed"] and bars["wrong pages"] and bars["crossed or doubled replies"]
    assert sum(result["under_kills"]["statuses"].values()) == result["under_kills"]["asked"] > 100
