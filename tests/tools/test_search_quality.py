"""Rankings of judged collections, beside published figures; and the benchmark, made small."""

import json

import pytest
from click.testing import CliRunner

from mixline.tools import bench_search
from mixline.tools.bench_gowalla import data_folder
from mixline.tools.search_quality import judged

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
