"""Scorers: utility, calibration, mlp, onnx, and the best alone; each beside a plain computation."""

import json
import math

import numpy as np
import pytest
from film_store import node_with
from shop_store import NOW, articles

from mixline.node.errors import BadRequest, ConfigError
from mixline.node.network_model import NetworkError, load_network

PAGE = """
[[source]]
kind = "given"
{rest}
[[selector]]
kind = "topk"
by = "{by}"
"""
ALL = [one["id"] for one in articles()]
BY_ID = {one["id"]: one for one in articles()}
USER = '[[hydrator]]\nkind = "user"\ncolumns = ["age"]\n'


def page_of(rest, by="s"):
    return PAGE.format(rest=rest, by=by)


def scores(node, name, **given):
    page = node.ask(name, candidates=ALL, limit=len(ALL), time=NOW, **given)
    assert page.status == "OK", page.coverage
    return dict(zip(page.ids.tolist(), page.scores.tolist(), strict=True))


def test_utility_adds_what_is_wanted_and_takes_what_is_not(shop_store, tmp_path):
    rest = """
    [[scorer]]
    name = "s"
    kind = "utility"
    floors = { words = 100.0 }
    [scorer.objectives]
    reading = { weight = 2.0, column = "words", power = 0.5, least = 0.0, most = 300.0 }
    risk = { weight = "params.fear", power = 2.0 }
    age = { weight = 1.0, column = "user.age", missing = 7.0 }
    """
    with node_with(shop_store, tmp_path, worth=page_of(USER + rest)) as node:
        for fear, user, age in ((-30.0, 1, 30.0), (5.0, 2, 7.0)):
            for one, score in scores(node, "worth", user=user, params={"fear": fear}).items():
                words, risk = BY_ID[one]["words"], BY_ID[one]["risk"]
                if words < 100:
                    assert math.isnan(score)
                else:
                    expected = 2 * math.sqrt(min(words, 300)) + fear * np.float32(risk) ** 2 + age
                    assert score == pytest.approx(expected, rel=1e-6)
        page = node.ask("worth", candidates=[105], user=2, params={"fear": -1.0}, explain=True)
        terms = page.explain[0]["terms"]["s"]
        assert sum(terms.values()) == pytest.approx(page.scores[0]) and set(terms) == {"reading", "risk", "age"}
        for params in (None, {"fear": "much"}, {"fear": math.inf}):
            with pytest.raises(BadRequest, match="needs a number 'fear'"):
                node.ask("worth", candidates=[105], params=params)


def test_calibrated_scores_are_probabilities(shop_store, tmp_path):
    lines = '[[scorer]]\nname = "s"\nkind = "calibration"\nof = "words"\npoints = [[100, 0.1], [300, 0.5], [400, 0.6]]'
    platt = '[[scorer]]\nname = "s"\nkind = "calibration"\nof = "risk"\nslope = 4.0\nintercept = -1.0'
    steep = '[[scorer]]\nname = "s"\nkind = "calibration"\nof = "words"\nslope = -1e6'
    with node_with(shop_store, tmp_path, lines=page_of(lines), platt=page_of(platt), steep=page_of(steep)) as node:
        known = {0.0: 0.1, 100.0: 0.1, 200.0: 0.3, 300.0: 0.5, 400.0: 0.6, 500.0: 0.6}
        for one, score in scores(node, "lines").items():
            assert score == pytest.approx(known[BY_ID[one]["words"]])
        for one, score in scores(node, "platt").items():
            assert score == pytest.approx(1 / (1 + math.exp(1 - 4 * BY_ID[one]["risk"])), abs=1e-6)
        assert set(scores(node, "steep").values()) == {0.0, 0.5}


def layers(seed=2):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(shape), rng.standard_normal(shape[1])) for shape in ((3, 70), (70, 5), (5, 1))]


def forward(x, chain):
    for at, (weight, bias) in enumerate(chain):
        x = x @ weight.astype(np.float32).astype(float) + bias.astype(np.float32)
        x = x if at == len(chain) - 1 else np.maximum(x, 0)
    return x[:, 0]


def write_safetensors(path, arrays):
    header, body = {"__metadata__": {"by": "a test"}}, b""
    for name, values in arrays.items():
        raw = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_a_network_gives_what_its_layers_say(shop_store, tmp_path):
    chain = layers()
    (tmp_path / "surfaces").mkdir()
    torch = {
        f"net.{2 * at}.{key}": part
        for at, (weight, bias) in enumerate(chain)
        for key, part in (("weight", weight.T), ("bias", bias))
    }
    write_safetensors(tmp_path / "surfaces" / "net.safetensors", torch)
    plain = {f"{key}{at}": part for at, parts in enumerate(chain) for key, part in zip("wb", parts, strict=True)}
    np.savez(tmp_path / "surfaces" / "net.npz", **plain)
    score = '[[scorer]]\nname = "s"\nkind = "mlp"\nfeatures = ["words", "risk", "user.age"]\nmissing = -1.0\n'
    with node_with(
        shop_store,
        tmp_path,
        torch=page_of(f'{USER}{score}model = "net.safetensors"'),
        plain=page_of(f'{USER}{score}model = "net.npz"\nlayout = "in_out"'),
        chance=page_of(f'{USER}{score}model = "net.npz"\nlayout = "in_out"\noutput = "sigmoid"'),
    ) as node:
        for user, age in ((1, 30.0), (2, -1.0)):
            x = np.array([[BY_ID[one]["words"], np.float32(BY_ID[one]["risk"]), age] for one in ALL])
            expected = dict(zip(ALL, forward(x, chain), strict=True))
            found = scores(node, "torch", user=user)
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-2)
            assert scores(node, "plain", user=user) == found
            for one, chance in scores(node, "chance", user=user).items():
                assert chance == pytest.approx(1 / (1 + math.exp(-max(-700, found[one]))), abs=1e-6)


def test_files_that_are_no_network_are_named(tmp_path):
    good = {"w1": np.zeros((2, 3)), "b1": np.zeros(3), "w2": np.zeros((3, 1))}
    np.savez(tmp_path / "good.npz", **good)
    assert load_network(str(tmp_path / "good.npz"), False).outputs == 1
    for name, arrays, words in (
        ("turned", good, "is layout right"),
        ("named", {"weights": np.zeros((2, 1))}, "array 'weights'"),
        ("flat", {"w1": np.zeros(3)}, "no weights of two dimensions"),
        ("unfit", {"w1": np.zeros((2, 3)), "w2": np.zeros((4, 1))}, "layer 1 gives 3 numbers, layer 2 takes 4"),
        ("nan", {"w1": np.full((2, 1), np.nan)}, "no finite number"),
        ("empty", {}, "no layer"),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(NetworkError, match=words):
            load_network(str(tmp_path / f"{name}.npz"), name == "turned")
    for name, raw in (
        ("short.safetensors", b"abc"),
        ("long.safetensors", (1 << 40).to_bytes(8, "little") + b"{}"),
        ("list.safetensors", (2).to_bytes(8, "little") + b"[]"),
        ("kind.safetensors", b'\x2c\0\0\0\0\0\0\0{"a.w":{"dtype":"I8","shape":[],"data_offsets":[0,0]}}'[:52]),
        ("junk.npz", b"junk"),
        ("model.onnx", b""),
    ):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(NetworkError, match=name):
            load_network(str(tmp_path / name), False)
    with pytest.raises(NetworkError, match="gone"):
        load_network(str(tmp_path / "gone.npz"), False)


def test_onnx_models_run_in_their_library(shop_store, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = np.array([[0.5], [-2.0]], dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "line",
        [helper.make_tensor_value_info("x", kind, [None, 2])],
        [helper.make_tensor_value_info("y", kind, [None, 1])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "surfaces").mkdir()
    onnx.save(model, tmp_path / "surfaces" / "line.onnx")
    score = '[[scorer]]\nname = "s"\nkind = "onnx"\nmodel = "line.onnx"\n'
    with node_with(shop_store, tmp_path, line=page_of(f'{score}features = ["words", "risk"]')) as node:
        for one, score_ in scores(node, "line").items():
            assert score_ == pytest.approx(0.5 * BY_ID[one]["words"] - 2 * BY_ID[one]["risk"], rel=1e-5, abs=1e-5)
    for rest, words in (
        ('features = ["words"]', "1 for a model of 2"),
        ('features = ["words", "risk"]\noutput = "z"', "output = 'z'"),
        ('features = ["words", "lang"]', "'lang' is category"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(shop_store, tmp_path, line=page_of(score + rest))
        assert words in str(refused.value), refused.value


def test_the_second_phase_scores_the_best_of_the_first_alone(shop_store, tmp_path):
    rest = """
    [[filter]]
    kind = "predicate"
    where = "given.score < 0.9"
    [[scorer]]
    name = "s"
    kind = "weighted"
    terms = { words = 1.0 }
    best = { count = 9, by = "risk" }
    """
    with node_with(shop_store, tmp_path, two=page_of(rest)) as node:
        for users in ([1], [1, 2]):
            page = node.ask("two", users=users, candidates=ALL, limit=60, explain=True)
            entry = next(one for one in page.coverage if one.stage == "scorer")
            assert (entry.taken, entry.left) == (9 * len(users), 51 * len(users))
            for at in range(len(users)):
                mine = slice(*page.groups[at : at + 2].tolist())
                best = sorted(ALL, key=lambda one: (-BY_ID[one]["risk"], one))[:9]
                assert sorted(page.ids[mine].tolist()[:9]) == sorted(best)
                assert np.isnan(page.scores[mine][9:]).all() and len(page.scores[mine]) == 59
        wrong = rest.replace("count = 9", "count = 0"), rest.replace('by = "risk"', 'by = "rsk"')
        for text, words in zip(wrong, ("best.count = 0", "reads column 'rsk'"), strict=True):
            with pytest.raises(ConfigError) as refused:
                node_with(shop_store, tmp_path, two=page_of(text))
            assert words in str(refused.value)


def test_what_cannot_work_is_refused_at_load(shop_store, tmp_path):
    (tmp_path / "surfaces").mkdir()
    np.savez(tmp_path / "surfaces" / "two.npz", w=np.zeros((2, 2)))
    for rest, words in (
        ('kind = "utility"\nobjectives = {}', "objectives: name at least one"),
        ('kind = "utility"\nobjectives = { risk = { weight = "much" } }', 'give a number, or "params.NAME"'),
        ('kind = "utility"\nobjectives = { risk = { weight = nan } }', "a weight is a finite number"),
        ('kind = "utility"\nobjectives = { risk = { weight = 1, power = 5 } }', "power = 5"),
        ('kind = "utility"\nobjectives = { risk = { weight = 1, power = 0.5 } }', "give least = 0"),
        ('kind = "utility"\nobjectives = { lang = { weight = 1 } }', "'lang' is category"),
        ('kind = "calibration"\nof = "risk"', "points, slope: give one"),
        ('kind = "calibration"\nof = "risk"\npoints = [[1, 0], [1, 1]]', "scores must rise"),
        ('kind = "calibration"\nof = "risk"\nslope = inf', "must be finite"),
        ('kind = "mlp"\nmodel = "two.npz"\nfeatures = ["risk", "words"]', "gives 2 numbers"),
        ('kind = "mlp"\nmodel = "two.npz"\nfeatures = ["risk"]', "1 for a first layer of 2"),
        ('kind = "mlp"\nmodel = "gone.npz"\nfeatures = ["risk"]', "gone.npz"),
    ):
        with pytest.raises(ConfigError) as refused:
            node_with(shop_store, tmp_path, bad=page_of(f'[[scorer]]\nname = "s"\n{rest}'))
        assert words in str(refused.value), refused.value
