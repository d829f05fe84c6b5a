"""LightGBM's and XGBoost's own files give what the libraries predict, row by row; and a surface ranks with them."""

import json

import numpy as np
import pytest
from film_store import build_store, films, node_with, write_config

from mixline.node.errors import ConfigError
from mixline.node.forest_model import ForestError, load_model

lightgbm = pytest.importorskip("lightgbm", reason="the extra [rank] brings lightgbm")
ROWS = 900


def table(seed=3):
    """Features with missing values, zeros and, in the last two columns, categories; and what they make likely."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, 6)) * 3
    x[:, 2] = np.round(x[:, 2])
    x[:, 4], x[:, 5] = rng.integers(0, 5, ROWS), rng.integers(0, 60, ROWS)
    wish = x[:, 0] - np.abs(x[:, 2]) + np.isin(x[:, 4], (1, 3)) * 2 + np.isin(x[:, 5] % 7, (1, 2)) * 3
    x[rng.random(x.shape) < 0.15] = np.nan
    return x, wish + rng.standard_normal(ROWS)


def strange(x):
    """Rows that no training saw: beyond the ends, between categories, below zero."""
    rng = np.random.default_rng(8)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e300, -1.0, -0.5, 0.9, 2.5, 59.0, 60.0, 1e6])
    return np.concatenate([x, rng.choice(odd, (400, x.shape[1]))])


def agrees(path, x, expected, raw=False):
    """The largest difference, as a share of what is greater than 1."""
    columns = [np.ascontiguousarray(x[:, at]) for at in range(x.shape[1])]
    found = load_model(str(path)).output(columns, raw)
    assert found.shape == expected.shape
    return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)))


LIGHT = {
    "regression": {},
    "binary": {"objective": "binary", "sigmoid": 0.7},
    "zero_as_missing": {"zero_as_missing": True},
    "without_missing": {"use_missing": False},
    "poisson": {"objective": "poisson"},
    "sqrt": {"reg_sqrt": True},
    "entropy": {"objective": "cross_entropy"},
    "lambda": {"objective": "cross_entropy_lambda"},
    "forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    "dart": {"boosting": "dart"},
    "one_hot": {"max_cat_to_onehot": 100},
    "large": {"num_leaves": 400, "max_bin": 1000, "min_data_in_leaf": 1},
    "stumps": {"min_data_in_leaf": 2000},
}


@pytest.mark.parametrize("name", LIGHT)
def test_lightgbm_predicts_the_same(name, tmp_path):
    x, y = table()
    options = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_per_group": 5, "cat_smooth": 1}
    options |= LIGHT[name]
    if "entropy" in options.get("objective", "") or options.get("objective") == "binary":
        y = (y > 0) * 1.0
    elif options.get("objective") == "poisson":
        y = np.floor(np.abs(y))
    model = lightgbm.train(options, lightgbm.Dataset(x, y, categorical_feature=[4, 5]), 30)
    path = tmp_path / "model.txt"
    model.save_model(path)
    rows = strange(x)
    assert agrees(path, rows, model.predict(rows, raw_score=True), raw=True) < 1e-12 or name == "forest"
    assert agrees(path, rows, model.predict(rows)) < 1e-12
    if name not in ("stumps", "without_missing"):
        assert "num_cat=0" not in path.read_text().partition("Tree=0")[2].partition("Tree=1")[0]


BOOST = {
    "regression": {"objective": "reg:squarederror"},
    "logistic": {"objective": "binary:logistic", "base_score": 0.3},
    "logitraw": {"objective": "binary:logitraw"},
    "poisson": {"objective": "count:poisson"},
    "tweedie": {"objective": "reg:tweedie"},
    "dart": {"objective": "reg:squarederror", "booster": "dart", "rate_drop": 0.3},
    "one_hot": {"objective": "reg:squarederror", "max_cat_to_onehot": 100},
    "parallel": {"objective": "reg:squarederror", "num_parallel_tree": 3, "subsample": 0.5},
    "exact_bins": {"objective": "reg:squarederror", "max_bin": 900, "max_depth": 10, "min_child_weight": 0},
    "pruned": {"objective": "reg:squarederror", "gamma": 40.0},
}


@pytest.mark.parametrize("name", BOOST)
def test_xgboost_predicts_the_same(name, tmp_path):
    xgboost = pytest.importorskip("xgboost", reason="not installed")
    x, y = table()
    options = {"nthread": 1, "max_depth": 5, "max_cat_to_onehot": 1, **BOOST[name]}
    if "log" in options["objective"]:
        y = (y > 0) * 1.0
    elif options["objective"] != "reg:squarederror":
        y = np.floor(np.abs(y))
    kinds = ["q"] * 4 + ["c"] * 2
    trained = xgboost.DMatrix(x, y, feature_types=kinds, enable_categorical=True)
    model = xgboost.train(options, trained, 30)
    path = tmp_path / "model.json"
    model.save_model(path)
    rows = strange(x)
    rows = rows[np.isfinite(rows).all(axis=1) | np.isnan(rows).any(axis=1) & ~np.isinf(rows).any(axis=1)]
    rows = rows[(np.abs(np.nan_to_num(rows)) < 1e30).all(axis=1)]
    asked = xgboost.DMatrix(rows, feature_types=kinds, enable_categorical=True)
    sums = model.predict(asked, output_margin=True).astype(np.float64)
    assert agrees(path, rows, sums, raw=True) < 1e-6
    assert agrees(path, rows, model.predict(asked).astype(np.float64)) < 1e-6
    assert any(tree["categories"] for tree in trees_of(json.loads(path.read_text())))


def trees_of(saved):
    booster = saved["learner"]["gradient_booster"]
    return booster.get("gbtree", booster)["model"]["trees"]


def test_files_that_are_none_are_refused_by_name(tmp_path):
    x, y = table()
    options = {"verbose": -1, "num_threads": 1}
    text = lightgbm.train(options, lightgbm.Dataset(x, y), 2).model_to_string()
    many = {**options, "objective": "multiclass", "num_class": 3}
    classes = lightgbm.train(many, lightgbm.Dataset(x, np.arange(ROWS) % 3), 1).model_to_string()
    for content, words in (
        ("", "neither"),
        ("tree\nversion=v4\n", "ends before"),
        (text.replace("split_feature=", "split_feature=7 "), "Tree=0"),
        (text.replace("left_child=", "left_child=x"), "Tree=0: ValueError"),
        (text.replace("num_class=1", "num_class=3"), "multiclass"),
        (classes, "multiclass"),
        (text.replace("is_linear=0", "is_linear=1"), "linear trees"),
        (text[: len(text) // 2], "ends before"),
        ('{"learner": {}}', "not a model of XGBoost"),
        ('{"learner', "not a model of XGBoost"),
    ):
        path = tmp_path / "odd.txt"
        path.write_text(content)
        with pytest.raises(ForestError, match=words) as refused:
            load_model(str(path))
        assert str(path) in str(refused.value)
    with pytest.raises(ForestError, match=r"absent\.txt"):
        load_model(str(tmp_path / "absent.txt"))


SURFACE = """
limit = 300
[[source]]
kind = "given"
[[scorer]]
name = "rank"
kind = "forest"
model = "models/rank.txt"
{rest}
[[selector]]
kind = "topk"
by = "rank"
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(tmp_path_factory.mktemp("films"))


def feature_rows():
    """What the films' columns hold, studios by the order in which they first come."""
    found = films()
    studios = {}
    for film in found:
        if film["studio"] is not None:
            studios.setdefault(film["studio"], len(studios))
    rows = [
        [
            np.nan if film["year"] is None else film["year"],
            np.nan if film["price"] is None else film["price"],
            film["colour"],
            1 / (1 + at),
            np.nan if film["studio"] is None else sorted(studios).index(film["studio"]),
        ]
        for at, film in enumerate(found)
    ]
    return np.array(rows, dtype=np.float64), [film["id"] for film in found]


def saved_ranker(folder, names=("year", "price", "colour", "given.score", "studio"), labels=True):
    """A model of the films' own columns, and what it predicts for each film."""
    x, ids = feature_rows()
    y = np.nan_to_num(x[:, 0]) / 40 + np.nan_to_num(x[:, 1]) * x[:, 2] / 10 + (x[:, 4] == 1) * 5
    data = lightgbm.Dataset(x, y, feature_name=list(names), categorical_feature=[4])
    options = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "min_data_per_group": 3, "cat_smooth": 1}
    model = lightgbm.train(options, data, 40)
    text = model.model_to_string()
    if labels:
        text = text.replace("pandas_categorical:null", 'pandas_categorical:[["north", "south", "west"]]')
    (folder / "surfaces" / "models").mkdir(parents=True, exist_ok=True)
    (folder / "surfaces" / "models" / "rank.txt").write_text(text)
    return dict(zip(ids, model.predict(x).tolist(), strict=True))


def test_a_surface_ranks_with_a_model(store, tmp_path):
    expected = saved_ranker(tmp_path)
    with node_with(store, tmp_path, ranked=SURFACE.format(rest="")) as node:
        page = node.ask("ranked", candidates=list(expected))
        assert [c.state for c in page.coverage] == ["ok", "ok", "ok"]
        assert len(page.ids) == len(expected)
        np.testing.assert_allclose(page.scores, [expected[one] for one in page.ids.tolist()], rtol=1e-6)
        assert len(np.unique(page.scores)) > 50
        users = node.ask("ranked", users=[1, 2, 3], candidates=list(expected)[:7], limit=7)
        np.testing.assert_allclose(users.scores, [expected[one] for one in users.ids.tolist()], rtol=1e-6)


def test_features_go_by_other_names(store, tmp_path):
    names = ("released", "cost", "colour", "place", "maker")
    expected = saved_ranker(tmp_path, names)
    rest = 'features = { released = "year", cost = "price", place = "given.score", maker = "studio" }'
    with node_with(store, tmp_path, ranked=SURFACE.format(rest=rest)) as node:
        page = node.ask("ranked", candidates=list(expected))
        np.testing.assert_allclose(page.scores, [expected[one] for one in page.ids.tolist()], rtol=1e-6)


def test_what_cannot_work_is_refused_at_load(store, tmp_path):
    def refused(rest="", **change):
        saved_ranker(tmp_path, **change)
        with pytest.raises(ConfigError) as problem:
            node_with(store, tmp_path, ranked=SURFACE.format(rest=rest))
        return str(problem.value)

    said = refused(names=("year", "price", "colour", "given.score", "brand"))
    assert "ranked.toml" in said and "'rank'" in said and "'brand'" in said
    assert "no whole number" in refused(labels=False)
    assert "'brend'" in refused('features = { brend = "studio" }')
    assert "'genres'" in refused('features = { year = "genres" }')
    (tmp_path / "surfaces" / "models" / "rank.txt").unlink()
    with pytest.raises(ConfigError, match=r"rank\.txt"):
        node_with(store, tmp_path, ranked=SURFACE.format(rest=""))
    saved_ranker(tmp_path)
    path = tmp_path / "surfaces" / "models" / "rank.txt"
    path.write_text(path.read_text().replace("objective=regression", "objective=custom"))
    with pytest.raises(ConfigError, match='output = "raw"'):
        write_and_load(store, tmp_path, "")
    write_and_load(store, tmp_path, 'output = "raw"').close()


def write_and_load(store, folder, rest):
    write_config(folder, ranked=SURFACE.format(rest=rest))
    return node_with(store, folder, ranked=SURFACE.format(rest=rest))
