"""What a request is understood to ask for: its text, parameters and vector, before anything is retrieved."""

import time

import numpy as np
import pytest
from film_store import DIM, node_with, write_config
from text_store import TITLES, build_titles

from mixline.node import Node
from mixline.node.components.query_hydrators.detect_query_hydrator import without, years_of
from mixline.node.errors import BadRequest, ConfigError
from mixline.node.inprocess import asked_now
from mixline.node.planning import analyze, plan
from mixline.node.sentence_encoder import TooLate, load_encoder

TEXT = '[[source]]\nkind = "text"\n[[selector]]\nkind = "topk"\nby = "text.score"\n'
NICKNAMES = '[[query_hydrator]]\nkind = "odd_components.NicknameQueryHydrator"\nname = "nick"\n'
DETECT = """
[[query_hydrator]]
kind = "detect"
labels = { genre = "genres", studio = "studio" }
years = "year"
stem = "english"
"""
BOOST = f"""{DETECT}
[[source]]
kind = "text"
[[hydrator]]
kind = "conditions"
columns = {{ era = "year >= params.year_from and year <= params.year_to", kin = "params.genre in genres" }}
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ "text.score" = 0.01, era = 2.0, kin = 1.0 }}
[[selector]]
kind = "topk"
by = "final"
"""
SIEVE = f"""{DETECT}
[[source]]
kind = "popular"
[[filter]]
kind = "predicate"
where = "params.year_from == 0 or (year >= params.year_from and year <= params.year_to)"
[[filter]]
kind = "predicate"
name = "north"
where = "params.studio in studio"
[[selector]]
kind = "topk"
by = "popular.score"
"""
NEAR = """
[[query_hydrator]]
kind = "encoder"
model = "model"
{more}
[[source]]
kind = "nearest"
query = "text"
limit = 300
[[selector]]
kind = "topk"
by = "nearest.score"
"""
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "space", "opera", "##tic", "war")


@pytest.fixture(scope="module")
def titles(tmp_path_factory):
    return build_titles(tmp_path_factory.mktemp("titles"))


def of(page, stage="query_hydrator"):
    return [entry for entry in page.coverage if entry.stage == stage]


def test_text_is_rewritten_by_a_class_of_ones_own(titles, tmp_path):
    own = f'{NICKNAMES}names = {{ dv = "deep", dsn = "nine" }}\n{TEXT}'
    plain = {"paging": f"paging = true\nlimit = 2\n{own}", "plain": TEXT}
    with node_with(titles, tmp_path, own=own, **plain) as node:
        meant = node.ask("plain", query="deep nine")
        page = node.ask("own", query="dv dsn")
        assert len(page) and page.ids.tolist() == meant.ids.tolist() and page.scores.tolist() == meant.scores.tolist()
        assert [entry.stage for entry in page.coverage] == ["query_hydrator", "source", "selector"]
        failed = node.ask("own", query="raise deep nine")
        assert failed.status == "DEGRADED" and "no luck" in of(failed)[0].why
        assert failed.ids.tolist() == meant.ids.tolist()
        first = node.ask("paging", query="dv space")  # the cursor is bound to what was asked, not to what was meant
        second = node.ask("paging", query="dv space", cursor=first.cursor)
        assert len(second) and not set(first.ids.tolist()) & set(second.ids.tolist())
        with pytest.raises(BadRequest, match="cursor"):
            node.ask("paging", query="deep space", cursor=first.cursor)
        done = analyze(node.engine, asked_now("own", query="dv dsn"))
        assert [one.coverage.stage for one in done] == ["query_hydrator", "source", "selector"]


def test_parameters_that_it_sets_choose_the_components(titles, tmp_path):
    declared = '[params.met]\ntype = "int"\ndefault = 1\nmin = 1\nmax = 3\nrequest = true\n'
    own = f'{declared}{NICKNAMES}names = {{ a = "space", b = "opera" }}\nparam = "met"\n'
    own += TEXT.replace('kind = "text"', 'kind = "text"\nlimit = "$met"')
    with node_with(titles, tmp_path, own=own) as node:
        assert [len(node.ask("own", query=query)) for query in ("a deep", "a b", "a a b")] == [1, 2, 3]
        assert len(node.ask("own", query="a b", params={"met": 1})) == 1  # what the request says stays
        page = node.ask("own", query="space")  # 0 lies outside
        assert page.status == "DEGRADED" and "params.met = 0: must be at least 1" in of(page)[0].why and len(page) == 1
    with pytest.raises(ConfigError, match=r"params\.gone: \[params\] has no such name"):
        node_with(titles, tmp_path, own=own.replace('param = "met"', 'param = "gone"'))


def test_years_and_labels_are_found_and_boost(titles, tmp_path):
    with node_with(titles, tmp_path, boost=BOOST, plain=TEXT) as node:
        plain = node.ask("plain", query="space comedies 1962").ids.tolist()
        page = node.ask("boost", query="space comedies 1962", fields=["title", "year", "genres"])
        assert set(page.ids.tolist()) == set(plain)
        assert of(page)[0].how == "genre Comedy; year 1962..1962"
        assert page.fields["year"][0] == 1962 and page.fields["title"][0] == TITLES[4]
        kin = ["Comedy" in one for one in page.fields["genres"][1:]]
        assert any(kin) and kin == sorted(kin, reverse=True)
        assert of(node.ask("boost", query="space"))[0].how == ""


def test_what_is_found_filters_inside_the_sources(titles, tmp_path):
    with node_with(titles, tmp_path, sieve=SIEVE, bare=SIEVE.replace(DETECT, "")) as node:
        page = node.ask("sieve", query="north 1950s", fields=["year", "studio"])
        assert page.fields["year"] and all(1950 <= one <= 1959 for one in page.fields["year"])
        assert set(page.fields["studio"]) == {"north"} and of(page, "source")[0].taken == len(page)
        assert all(entry.how == "inside the sources" for entry in of(page, "filter"))
        assert len(node.ask("sieve", query="films")) == 0  # no studio is named
        given = node.ask("sieve", query="north 1950s", params={"year_from": 1960, "year_to": 1990}, fields=["year"])
        assert given.fields["year"] and all(1960 <= one <= 1990 for one in given.fields["year"])
        with pytest.raises(BadRequest, match="needs a number 'year_from'"):
            node.ask("bare", query="north")
        with pytest.raises(BadRequest, match="needs a text 'studio'"):
            node.ask("bare", query="north", params={"year_from": 0, "year_to": 0})
    for part, words in (
        (DETECT.replace('"genres"', '"title"'), "column 'title' is not there"),
        (DETECT.replace('"genres"', '"year"'), "column 'year' is f32"),
        (DETECT.replace("stem = ", "stem = 'klingon' #"), "stem:"),
        ('[[query_hydrator]]\nkind = "detect"\n', "name something to find"),
        ('[[query_hydrator]]\nkind = "detects"\n', "did you mean"),
    ):
        with pytest.raises(ConfigError, match=words):
            node_with(titles, tmp_path, sieve=SIEVE.replace(DETECT, part))


def test_years_as_people_write_them():
    said = {"1995": (1995, 1995), "1990s": (1990, 1999), "90s": (1990, 1999), "20S": (2020, 2029), "2001": (2001, 2001)}
    assert {word: years_of(word) for word in said} == said
    assert not any(map(years_of, ("995", "19955", "1995s", "2100", "95", "1799", "x1995")))
    assert without("space 1995 films", [(6, 10)]) == "space films" and without("1995!", [(0, 4)]) == "1995!"


def encoder_model(folder, dim=DIM, output="last_hidden_state", inputs=("input_ids", "attention_mask")):
    """A model whose token t has the vector of row t of a table, which is returned."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tokenizers")
    helper, kinds = onnx.helper, onnx.TensorProto
    table = np.random.default_rng(3).standard_normal((len(VOCABULARY), dim)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", inputs[0]], [output])],
        "words",
        [helper.make_tensor_value_info(name, kinds.INT64, ["batch", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info(output, kinds.FLOAT, ["batch", "tokens", dim])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCABULARY))
    return table


def expected(table, tokens, pooling="mean"):
    vectors = table[[VOCABULARY.index(one) for one in ("[CLS]", *tokens, "[SEP]")]]
    found = vectors.mean(axis=0) if pooling == "mean" else vectors[0]
    return found / np.linalg.norm(found)


def test_a_query_becomes_the_vector_that_is_asked_with(film_store, tmp_path):
    table = encoder_model(tmp_path / "surfaces" / "model")
    short = NEAR.format(more="tokens = 3")
    prefix = NEAR.format(more='prefix = "war "\npooling = "cls"')
    with node_with(film_store, tmp_path, near=NEAR.format(more=""), short=short, prefix=prefix) as node:
        for surface, query, tokens, pooling in (
            ("near", "Space OPERA", ["space", "opera"], "mean"),
            ("near", "operatic war!", ["opera", "##tic", "war", "[UNK]"], "mean"),
            ("short", "space opera war", ["space"], "mean"),
            ("prefix", "space", ["war", "space"], "cls"),
        ):
            page = node.ask(surface, query=query, limit=20)
            wanted = node.ask(surface, vector=expected(table, tokens, pooling), limit=20)
            assert page.ids.tolist() == wanted.ids.tolist() and len(page) == 20, query
            assert np.allclose(page.scores, wanted.scores, atol=1e-6)
        given = node.ask("near", query="space", vector=expected(table, ["war"]), limit=5)
        assert given.ids.tolist() == node.ask("near", query="war", limit=5).ids.tolist()
        for nothing in (None, "", "   "):
            page = node.ask("near", query=nothing)
            assert len(page) == 0 and page.status == "OK"
        assert len(node.ask("near", query="x" * 60_000)) == 25
        assert plan(node.engine.pipelines["near"])[0].how == f"{DIM} dimensions"


def slow_model(folder, turns):
    """The same, which first squares a matrix so many times: each token waits for it."""
    onnx = pytest.importorskip("onnx")
    encoder_model(folder)
    model, helper, kinds = onnx.load(folder / "model.onnx"), onnx.helper, onnx.TensorProto
    nodes, last = [], "matrix0"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(256, dtype=np.float32), "eye"))
    nodes.append(helper.make_node("Cast", ["attention_mask"], ["ones"], to=kinds.FLOAT))
    nodes.append(helper.make_node("ReduceMax", ["ones"], ["one"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["eye", "one"], [last]))
    for at in range(turns):
        nodes.append(helper.make_node("MatMul", [last, last], [f"matrix{at + 1}"]))
        last = f"matrix{at + 1}"
    nodes.append(helper.make_node("ReduceMax", [last], ["most"], keepdims=0))
    [gather] = model.graph.node
    gather.output[0] = "read"
    nodes += [gather, helper.make_node("Mul", ["read", "most"], ["last_hidden_state"])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "model.onnx")


def test_a_run_is_cut_short_at_its_deadline_and_not_begun_where_that_is_known(tmp_path):
    slow_model(tmp_path / "model", 2000)
    encoder = load_encoder(str(tmp_path / "model"), "mean", 128, True)
    whole = encoder.encode("space war")
    began = time.monotonic_ns()
    assert np.array_equal(encoder.encode("space war", began), whole)  # remembered, whatever the time
    encoder.encode("space opera")
    took_ns = time.monotonic_ns() - began
    encoder._token_ns = 0.0  # nothing is known of what it takes
    with pytest.raises(TooLate, match="was cut short"):
        encoder.encode("opera", time.monotonic_ns() + took_ns // 8)
    with pytest.raises(TooLate, match="a run takes some"):
        encoder.encode("opera", time.monotonic_ns() + took_ns // 8)
    with pytest.raises(TooLate):
        encoder.encode("opera", time.monotonic_ns() - 1)
    refused = encoder._token_ns = 1e12  # it once took very long
    for _ in range(200):
        try:
            encoder.encode("war", time.monotonic_ns() + 100 * took_ns)
            break
        except TooLate:
            assert encoder._token_ns < refused
            refused = encoder._token_ns
    assert len(encoder.encode("opera", time.monotonic_ns() + 1_000 * took_ns)) == DIM


def test_without_time_for_a_vector_the_page_has_what_the_text_brings(titles, film_store, tmp_path):
    encoder_model(tmp_path / "surfaces" / "model")
    both = NEAR.format(more="").replace("[[selector]]", '[[source]]\nkind = "text"\n[[selector]]', 1)
    both = both.replace('by = "nearest.score"', 'by = "text.score"')
    with node_with(film_store, tmp_path, both=both, near=NEAR.format(more="")) as node:
        page = node.ask("both", query="film war")
        assert page.status == "OK" and len(page)
        encoder = node.engine.pipelines["both"].query_hydrators[0].bound
        encoder._token_ns = 1e12
        late = node.ask("both", query="film opera", deadline_ms=500)
        [entry] = of(late)
        assert late.status == "DEGRADED" and entry.state == "degraded" and "no vector: a run takes some" in entry.why
        text = [one for one in of(late, "source") if one.name == "text"]
        assert text[0].state == "ok" and text[0].taken and len(late) == 25
        assert len(node.ask("near", query="film space", deadline_ms=500)) == 0


def test_a_model_that_does_not_fit_is_refused_with_its_file(film_store, tmp_path):
    model = tmp_path / "surfaces" / "model"

    def refusal(more=""):
        with pytest.raises(ConfigError) as refused:
            node_with(film_store, tmp_path, near=NEAR.format(more=more))
        return str(refused.value)

    assert "query_hydrator[0] (encoder): model: " in refusal() and "is no folder" in refusal()
    encoder_model(model, dim=7)
    assert f"makes vectors of 7 dimensions; space 'look' has {DIM}" in refusal()
    assert "space = 'gone'" in refusal('space = "gone"')
    assert "tokens = 2" in refusal("tokens = 2")
    encoder_model(model, inputs=("pixels", "attention_mask"))
    assert "model.onnx: takes pixels tensor(int64)" in refusal()
    encoder_model(model, inputs=("input_ids",))
    assert "takes no input_ids and attention_mask" in refusal()
    (model / "model.onnx").write_bytes(b"nothing of the kind")
    assert "model.onnx: " in refusal()
    encoder_model(model)
    (model / "tokenizer.json").write_text("{")
    assert "tokenizer.json: " in refusal()
    for name in ("tokenizer.json", "vocab.txt"):
        (model / name).unlink()
    assert "has no tokenizer.json or vocab.txt" in refusal()


def test_a_store_without_a_space_goes_on_without(titles, tmp_path):
    encoder_model(tmp_path / "surfaces" / "model")
    with Node.open(titles, config=write_config(tmp_path, near=NEAR.format(more="") + TEXT)) as node:
        page = node.ask("near", query="space")
        assert page.status == "OK" and [entry.state for entry in page.coverage] == ["disabled"] * 2 + ["ok"] * 3
        assert "no space" in page.coverage[0].why
