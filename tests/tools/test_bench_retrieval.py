"""The benchmark of retrieval says what is so: on 2,000 rows, with whichever peers are installed."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mixline.tools.bench_retrieval import retrieval
from mixline.tools.retrieval_contender import Task
from mixline.tools.retrieval_curves import Curve, Point, against
from mixline.tools.retrieval_data import DataSet, Truth, load
from mixline.tools.retrieval_ours import Space, exact_scans
from mixline.tools.retrieval_peers import missing

SMALL = ["--rows", "2000", "--dim", "24", "--k", "10", "--queries", "8", "--rounds", "1", "--seconds", "0.001"]
EXACT = ("mixline_float", "mixline_int8", "numpy")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIXLINE_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def figures_of(*options):
    done = CliRunner().invoke(retrieval, [*SMALL, "--json", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def without_peers(patch):
    from mixline.tools import retrieval_peers

    patch.setattr(retrieval_peers, "missing", lambda: list(retrieval_peers.MODULES))


@pytest.mark.parametrize("options", [(), ("--batch", "4"), ("--allowed", "0.1")])
def test_exact_ways_find_all_and_the_others_a_part(options, monkeypatch):
    without_peers(monkeypatch)
    figures = figures_of(*options)
    curves = {one["name"]: one for one in figures["curves"]}
    assert set(EXACT) <= set(curves)
    assert ("mixline_ivf" in curves) == ("mixline_graph" in curves) == (options[:1] != ("--batch",))
    for name, curve in curves.items():
        widths = [point["width"] for point in curve["points"]]
        assert widths == sorted(set(widths))
        assert all(0.0 <= point["recall"] <= 1.0 and point["queries_per_s"] > 0.0 for point in curve["points"])
        assert curve["ours"] == name.startswith("mixline")
        if name in EXACT:
            assert [point["recall"] for point in curve["points"]] == [1.0]
    assert figures["at_recall"]["0.99"]["peer"] == "numpy"
    assert figures["ratios"]["certified_to_float"]["mixline"] == "mixline_int8"
    assert all(one["seconds"] >= 0.0 and one["threads"] >= 1 for one in figures["build"].values())


@pytest.mark.skipif(missing() != [], reason="needs all peers")
def test_peers_do_the_same_task(tmp_path):
    file = tmp_path / "picture.png"
    figures = figures_of("--plot", str(file))
    recalls = {one["name"]: max(point["recall"] for point in one["points"]) for one in figures["curves"]}
    assert recalls["faiss_flat"] == recalls["scann_brute"] == 1.0
    assert min(recalls[name] for name in ("faiss_ivf", "faiss_hnsw", "hnswlib", "usearch", "svs")) > 0.9
    assert set(figures["build_ratios"]) == {"ivf_build", "graph_build"}
    assert file.read_bytes().startswith(b"\x89PNG")


def test_only_the_named_are_asked():
    figures = figures_of("--only", "numpy", "--only", "mixline_float")
    assert [one["name"] for one in figures["curves"]] == ["mixline_float", "numpy"]


def test_lines_of_text():
    done = CliRunner().invoke(retrieval, [*SMALL, "--only", "numpy"], catch_exceptions=False)
    assert done.exit_code == 0
    assert any(line.startswith("numpy 0\t") and line.endswith("at 1.0000") for line in done.stdout.splitlines())


def test_where_a_guess_of_a_scan_misses_it_scans_again():
    """What is near lies where the guess looks, in one block of each 64th part, and is fewer than are wanted."""
    count = 1 << 16
    rows = np.full((count, 4), -1.0, dtype=np.float32)
    for part in range(64):
        middle = (2 * part + 1) * (count // 16) // 128
        rows[16 * middle : 16 * middle + 16] *= -1.0
    rows *= 1.0 + np.arange(count, dtype=np.float32)[:, None] / count
    task = Task(DataSet("trap", rows, np.ones((2, 4), dtype=np.float32), "dot"), 5000, 2, None, 1, False)
    truth = Truth(task.data, task.k, None)
    contenders = {one.name: one for one in exact_scans(Space(task, {}))}
    for name in ("mixline_int8", "mixline_int8_estimates", "mixline_int4_estimates"):
        one = contenders[name]
        for found in one.search(task.data.queries, one.widths[-1]):
            assert len(found) == task.k
            assert truth.recall(0, found) > 0.9


def test_truth_takes_any_of_equal_rows_and_no_disallowed_one():
    data = load("clustered", 500, 8, 1)
    data.rows[7] = data.rows[3] = data.queries[0]  # two best rows
    best = Truth(data, 1, None)
    assert best.recall(0, np.array([3])) == best.recall(0, np.array([7, 7, -1])) == 1.0
    assert best.recall(0, np.array([4])) == 0.0
    allowed = np.ones(500, dtype=bool)
    allowed[3] = False
    both = Truth(data, 2, allowed)
    assert both.recall(0, np.array([7, 3])) == 0.5


def curve(*points):
    return Curve("one", True, False, [Point(width, recall, speed) for width, recall, speed in points])


def test_speed_between_points_and_never_beyond():
    swept = curve((1, 0.9, 100.0), (2, 0.99, 10.0))
    assert swept.speed_at(0.9) == pytest.approx(100.0)
    assert swept.speed_at(1.0 - 10**-1.5) == pytest.approx(10**1.5)  # half way in both logarithms
    assert swept.speed_at(0.5) == pytest.approx(100.0)
    assert swept.speed_at(0.995) is None
    assert curve((1, 0.9, 10.0), (2, 0.99, 20.0)).speed_at(0.9) == 20.0  # wider and faster: no need for the other


def test_sides_are_compared_at_equal_recall():
    slow = Curve("slow", False, True, [Point(0, 1.0, 5.0)])
    assert against([curve((1, 0.99, 10.0))], [slow], 0.95)["ratio"] == 2.0
    assert against([curve((1, 0.9, 10.0))], [slow], 0.95) is None
