"""Rankings of judged collections, beside published figures; and the benchmark, made small."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mixline.kernels.maxscore import Search
from mixline.kernels.postings import Postings
from mixline.storage.analysis import AnalyserFacts, stop_words
from mixline.storage.progress import Silence
from mixline.storage.text_builder import TextBuilder
from mixline.storage.text_index import TextIndex
from mixline.storage.text_spec import TextFieldSpec, TextSpec
from mixline.tools import bench_hybrid, bench_search, bench_suggest
from mixline.tools.bench_gowalla import data_folder
from mixline.tools.search_quality import judged, lines_of

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (data_folder() / "cacm").is_dir(), reason="the shared data sets are absent"),
]


def test_cacm_beside_anserini():
    precision, at_30 = judged(data_folder() / "cacm")
    assert abs(precision - 0.3123) <= 0.003 and abs(at_30 - 0.1942) <= 0.003


def test_vaswani():
    assert judged(data_folder() / "vaswani")[0] >= 0.285


def test_the_benchmark_runs_small():
    options = ["--documents", "2000", "--queries", "100", "--peer", "sqlite_fts5", "--json"]
    done = CliRunner().invoke(bench_search.search, options)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.output)
    assert figures["sqlite_fts5"]["ours_qps"] > 0 and figures["ours_mib"] > 0


def test_completions_are_timed(tmp_path):
    done = CliRunner().invoke(bench_suggest.suggest, ["--titles", "2000", "--requests", "100", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.output.splitlines()[-1])
    assert figures["completed"] > 0.5 and 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["p999_ms"]
    assert sum(
        one != two for one, two in zip(*(bench_suggest.typed(["spaceopera"], 99, s) for s in (1, 2)), strict=True)
    )


def test_films_are_found_again_from_their_plots():
    some = bench_hybrid.films()
    by_number = {film.number: film for film in some}
    assert len(some) == 3018
    for case in bench_hybrid.CASES:
        for query, film in bench_hybrid.known_items(some, case, 50, 6, 1):
            name, *words = query.split() if case == "names" else ["", *query.split()]
            assert name.lower() in by_number[film].people.lower()
            assert all(word in by_number[film].plot.lower() for word in words)
    found = np.array([1.0, 2.0, np.inf, 4.0] * 50)
    judged_ = bench_hybrid.judged({"text": found, "vectors": found * np.inf, "rrf": found, "fusion": np.ones(200)})
    assert judged_["text_mrr"][0] == 0.4375 and judged_["text_recall"][0] == 0.75
    assert judged_["rrf_mrr_over_text"] == [0.0, 0.0, 0.0]
    mean, low, high = judged_["fusion_mrr_over_text"]
    assert mean == 0.5625 and low < mean < high


def indexed(folder, texts):
    analyser = AnalyserFacts(stop=stop_words("english"), stem="porter")
    builder = TextBuilder(folder / "epoch", folder / "scratch", TextSpec({"text": TextFieldSpec(analyser)}))
    builder.add({"text": texts}, len(texts))
    return TextIndex(folder / "epoch", builder.close(Silence()), len(texts))


def collection(name):
    if name == "generated":
        return [text for some in bench_search.documents(bench_search.real_queries(), 60_000) for text in some]
    return [text for _, text in lines_of(data_folder() / name / "docs.tsv.gz")]


def agree(folder, name, count, seed):
    """The best of random queries, of 1 to 12 words drawn as texts have them, are those of scoring every row."""
    index = indexed(folder, collection(name))
    rng = np.random.default_rng(seed)
    keys = rng.permutation(index.count).astype(np.uint64)
    lists = Postings(index.lists, index.positions, index.lengths, [True], index.facts.k1, keys, index.count)
    views = [(index.norms(0, 1.0, int(np.iinfo(index.lengths[0].dtype).max)),)]
    terms = index.terms.words()
    chances = np.array([one[1] for one in terms], dtype=np.float64)
    chances /= chances.sum()
    every = np.arange(index.count, dtype=np.uint32)
    for _ in range(count):
        drawn = [terms[at] for at in set(rng.choice(len(terms), rng.integers(1, 13), p=chances).tolist())]
        asked = [(start, n, at, index.weight(n), 0, g) for g, (_, n, start, _, at) in enumerate(drawn)]
        k = int(rng.choice([1, 10, 100, 1000]))
        search = Search(lists, k, asked, views, [0] * len(asked))
        search.advance()
        rows, scores = search.result()
        worths = lists.worth(asked, views, every)
        best = np.lexsort((keys, -worths))[:k]
        best = best[worths[best] > 0]
        assert (rows == best).all() and (scores == worths[best]).all(), drawn


@pytest.mark.parametrize("name", ["cacm", "vaswani", "generated"])
def test_the_best_are_those_of_scoring_every_row(tmp_path, name):
    agree(tmp_path, name, 100, 1)


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["cacm", "vaswani", "generated"])
def test_ten_thousand_queries_agree(tmp_path, stress_seed, name):
    agree(tmp_path, name, 3_400, stress_seed)
