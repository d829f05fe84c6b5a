"""The ramp's search, the time until calm, and a whole run of ``mixline bench load`` on a node of its own."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mixline.tools.bench_store import DIM
from mixline.tools.build import build
from mixline.tools.cli import command
from mixline.tools.load import schedule
from mixline.tools.load_ramp import NoCapacity, find_capacity
from mixline.tools.load_report import histogram, percentiles
from mixline.tools.load_steps import calm_after_s


@pytest.mark.parametrize("limit", [30.0, 420.0, 800.0, 799.0, 3000.0, 50_000.0])
def test_the_ramp_finds_the_limit_from_any_guess(limit):
    asked = []

    def probe(rate):
        asked.append(rate)
        return rate <= limit

    found = find_capacity(800.0, probe, precision=0.05)
    assert found <= limit < found * 1.05
    assert found in asked


def test_one_hiccup_does_not_count():
    failed = set()

    def probe(rate):
        if rate not in failed:
            failed.add(rate)
            return False
        return rate <= 500

    assert 475 < find_capacity(400.0, probe, precision=0.05, tries=2) <= 500


def test_nothing_good_and_nothing_bad_both_end():
    with pytest.raises(NoCapacity, match="down to"):
        find_capacity(1000.0, lambda _rate: False)
    assert find_capacity(1.0, lambda _rate: True) > 1000


def test_schedules_have_their_rate():
    even = schedule(1000, 2)
    assert len(even) == 2000 and (np.diff(even) == 1_000_000).all()
    drawn = schedule(1000, 20, poisson_seed=1)
    gaps = np.diff(drawn)
    assert len(drawn) == 20_000 and (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(1e6, rel=0.05) and gaps.std() == pytest.approx(1e6, rel=0.05)
    assert (schedule(1000, 20, poisson_seed=1) == drawn).all()


def test_calm_counts_from_the_last_bad_window():
    due_ns = np.arange(0, 2_000_000_000, 1_000_000)
    good = np.ones(2000, bool)
    assert calm_after_s(due_ns, good) == 0
    good[:350] = False
    assert calm_after_s(due_ns, good) == 0.4
    good[1990] = False
    assert calm_after_s(due_ns, good) == 0.4  # one of a hundred
    good[1990:] = False
    assert calm_after_s(due_ns, good) is None


def test_histograms_keep_three_digits():
    seen = percentiles(histogram(np.array([0.2, *[1000.0] * 97, 50_000.0, 90_000_000.0])))
    assert seen["count"] == 100 and seen["p50_us"] == pytest.approx(1000, rel=1e-3)
    assert seen["p99_us"] == pytest.approx(50_000, rel=1e-3) and seen["max_us"] == pytest.approx(60e6, rel=1e-3)
    assert percentiles(histogram(np.array([])))["count"] == 0


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    rng = np.random.default_rng(1)
    for name, count in (("items", 300), ("users", 50)):
        np.save(folder / f"{name}.npy", rng.standard_normal((count, DIM), dtype=np.float32))
        (folder / f"{name}.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(count)))
    (folder / "spec.toml").write_text(
        '[items]\npath = "items.csv"\nid = "id"\n[users]\npath = "users.csv"\nid = "id"\n'
        '[spaces.taste]\nitems = "items.npy"\nusers = "users.npy"\nmetric = "dot"\n'
    )
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output
    return folder / "store"


def bench(*arguments):
    done = CliRunner().invoke(command, ["bench", "load", *map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.output


def test_a_node_is_pressed_and_accounted_for(store, monkeypatch):
    monkeypatch.setattr("mixline.tools.load_steps.CALM_S", 2.0)
    code, out = bench(
        "--store", store, "--capacity", 40, "--curve", "0.5,1", "--steps", "1", "--seconds", 1, "--json",
        "--histograms",
        "--surface", "homefeed=3", "--surface", "related=1", "--arrivals", "poisson", "--workers", 1,
    )  # fmt: skip
    assert code == 0, out
    result = json.loads(out)
    assert set(result["mix"]["surfaces"]) == {"homefeed", "related"}
    for run, sent in zip(result["curve"], (20, 40), strict=True):
        assert run["sent"] == sent == sum(run["statuses"].values()) + run["unanswered"]
        assert sum(each["count"] for each in run["by_status"].values()) == sent - run["unanswered"]
        assert all(each["hdr"] for each in run["by_status"].values())
        assert set(run["generator"]) >= {"lateness_p99_us", "generator_cpu_share", "bottleneck"}
    (step,) = result["steps"]
    assert sum(step["statuses"].values()) + step["unanswered"] == 40
    assert step["rss_most_mb"] >= step["rss_before_mb"] > 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--endpoint", "tcp://127.0.0.1:1"], "--mix"),
        (["--rate", "5", "--steps", "1,2"], "--rate is one run"),
        (["--ramp", "--capacity", "5"], "choose one"),
        (["--steps", "1,x"], "positive numbers"),
    ],
)
def test_what_does_not_go_together(arguments, words):
    code, out = bench(*arguments)
    assert code and words in out


def test_no_such_surface(store):
    code, out = bench("--store", store, "--surface", "homefed")
    assert code == 65 and "homefeed" in out


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures come with the extra [bench]")
    from mixline.tools.load_plot import plot

    seen = {"sent": 9, "p50_us": 900, "p99_us": 3000, "p999_us": 9000, "goodput": 90}
    runs = [{**seen, "rate": rate, "generator": {"bottleneck": late}} for rate, late in ((100, ""), (200, "late"))]
    plot(tmp_path / "out.png", runs, 150, 50, "a title")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
