"""The benchmarks that start nodes run whole on small stores, and say what is so."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from mixline.tools import bench_serving, serving_contenders
from mixline.tools.bench_pages import pages
from mixline.tools.bench_shared import shared
from mixline.tools.bench_snapshot import snapshot
from mixline.tools.bench_together import together
from mixline.tools.bench_warm import warm_up

ABSENT = [name for name in serving_contenders.NEEDED if importlib.util.find_spec(name) is None]
needs_peers = pytest.mark.skipif(bool(ABSENT) or shutil.which("redis-server") is None, reason="needs all peers")


@pytest.fixture(autouse=True, scope="module")
def cache(disk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIXLINE_BENCH_CACHE", str(disk / "cache"))
        yield


def figures_of(command, *options, unless=""):
    """What it found; skipped where it says that this system cannot tell (``unless``: what it says then)."""
    done = CliRunner().invoke(command, [*options, "--json"], catch_exceptions=False)
    if unless and done.exit_code == 1 and unless in done.output:
        pytest.skip(done.output.strip())
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_shared_compares_two_nodes_of_one_store():
    size = ("--rows", "3000", "--dim", "12", "--clients", "16", "--seconds", "0.3", "--rounds", "1")
    figures = figures_of(shared, *size)
    assert (figures["rows"], figures["dim"], figures["clients"], figures["workers"]) == (3000, 12, 16, 2)
    paces = {mode: figures[mode]["pages_per_s"] for mode in ("shared", "alone")}
    assert figures["pace_to_alone"] == pytest.approx(paces["shared"] / paces["alone"], abs=0.01)
    assert figures["common_rate"] == pytest.approx(0.8 * min(paces.values()), abs=0.1)
    for mode in paces:
        assert 0 < figures[mode]["at_common_rate"]["p50_ms"] <= figures[mode]["at_common_rate"]["p99_ms"]
        assert figures[mode]["rounds"] == [paces[mode]]


def test_warm_compares_two_first_minutes():
    figures = figures_of(warm_up, "--items", "2000", "--rate", "50", "--seconds", "1", unless="stay in memory")
    for run in ("cold", "warmed"):
        assert figures[run]["not_pages"] == 0 and 0 < figures[run]["p50_ms"] <= figures[run]["p99_ms"]
    assert figures["p99_warmed_to_cold"] == pytest.approx(
        figures["warmed"]["p99_ms"] / figures["cold"]["p99_ms"], abs=0.001
    )


def test_pages_compares_two_copies():
    size = ("--items", "20000", "--surface", "exact", "--rounds", "1")
    figures = figures_of(pages, *size, unless="lie in huge pages")
    assert figures["ratios"] == [figures["small_to_huge"]]
    assert figures["small_to_huge"] == pytest.approx(figures["small_us"] / figures["huge_us"], abs=0.01)


def test_together_compares_with_alone():
    figures = figures_of(together, "--items", "3000", "--rounds", "1")
    for company in (1, 2, 4, 8, 16):
        share = figures[f"{company}_us"] / figures["1_us"]
        assert figures[f"{company}_to_alone"] == pytest.approx(share, abs=0.01) and figures[f"{company}_us"] > 0


def test_snapshot_compares_with_calm():
    figures = figures_of(snapshot, "--items", "2000", "--seconds", "0.5", "--rounds", "3")
    for way in ("linked", "stream"):
        ratios = []
        for one in figures["rounds"]:
            assert one[way]["snapshots"] >= 1 and one[way]["not_pages"] == 0
            assert one[way]["seconds_each"] > 0
            ratios.append(one[f"p99_{way}_to_calm"])
            assert ratios[-1] == pytest.approx(one[way]["p99_ms"] / one["calm"]["p99_ms"], abs=0.001)
        assert figures[f"p99_{way}_to_calm"] == sorted(ratios)[1]


@needs_peers
@pytest.mark.parametrize("faiss", ["ivf", "hnsw"])
def test_serving_with_an_index_shows_its_recall(faiss, monkeypatch):
    monkeypatch.setattr(bench_serving, "DEADLINE_MS", 5000.0)  # no test of the machine's speed: one slow probe each
    monkeypatch.setattr(serving_contenders, "DEADLINE_MS", 5000.0)
    monkeypatch.setattr(bench_serving, "find_capacity", lambda guess, probe, precision: 30.0 if probe(30.0) else 0.0)
    figures = figures_of(
        bench_serving.serving, "--items", "6000", "--index", "approximate", "--faiss", faiss, "--seconds", "0.5",
        "--only", "fastapi_mapped",
    )  # fmt: skip
    assert (figures["items"], figures["index"], figures["faiss"]) == (6000, "approximate", faiss)
    for name in ("mixline", "fastapi_mapped"):
        assert 0.97 < figures[name]["recall"] <= 1.0 and figures[name]["highest_rate"] == 30
    assert figures["rate_to_best_peer"] == figures["rate_to_fastapi_mapped"] == 1.0


@needs_peers
def test_the_peers_are_searched_as_narrowly_as_the_recall_allows(tmp_path):
    import faiss

    from mixline.tools.peers.index import write_index

    rng = np.random.default_rng(1)
    rows, users = (rng.standard_normal((count, 8), dtype=np.float32) for count in (6000, 20))
    np.save(tmp_path / "items.npy", rows)
    np.save(tmp_path / "users.npy", users)
    write_index(tmp_path, "ivf")
    index = faiss.read_index(str(tmp_path / "ivf.faiss"))
    wanted = np.argsort(-(users @ rows.T), axis=1)[:, :500]

    def recall():
        found = index.search(users, 500)[1]
        return np.mean([len(np.intersect1d(*pair)) / 500 for pair in zip(found, wanted, strict=True)])

    assert 1 < index.nprobe < index.nlist and recall() >= 0.99
    index.nprobe -= 1
    assert recall() < 0.99
