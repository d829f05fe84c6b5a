"""A BERT as ONNX gives what its definition gives, in plain NumPy."""

import json
import math

import numpy as np
import pytest

from mixline.tools.bert_onnx import export, read_weights

HIDDEN, HEADS, LAYERS, INNER, WORDS, PLACES, EPSILON = 8, 2, 2, 16, 11, 20, 1e-12
CONFIG = {
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "layer_norm_eps": EPSILON,
    "hidden_act": "gelu",
}


def weights(rng):
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.position_embeddings.weight": (PLACES, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for at in range(LAYERS):
        here = f"encoder.layer.{at}."
        dense = {f"attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        dense |= {"attention.output.dense": (HIDDEN, HIDDEN), "intermediate.dense": (INNER, HIDDEN)}
        for name, shape in {**dense, "output.dense": (HIDDEN, INNER)}.items():
            shapes |= {f"{here}{name}.weight": shape, f"{here}{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{here}{name}.weight": (HIDDEN,), f"{here}{name}.bias": (HIDDEN,)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_safetensors(path, tensors):
    head, data = {"__metadata__": {"format": "pt"}}, b""
    for name, one in tensors.items():
        kind = {"f": "F32", "i": "I64"}[one.dtype.kind]
        head[name] = {"dtype": kind, "shape": one.shape, "data_offsets": [len(data), len(data) + one.nbytes]}
        data += one.tobytes()
    raw = json.dumps(head).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)


def normed(x, w, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def dense(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def bert(w, ids, mask):
    """Devlin et al. 2019, one text."""
    w = {name: one.astype(np.float64) for name, one in w.items()}
    state = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    state = normed(state + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm")
    for at in range(LAYERS):
        here = f"encoder.layer.{at}."
        q, k, v = (
            dense(state, w, f"{here}attention.self.{part}").reshape(len(ids), HEADS, -1)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("aid,bid->iab", q, k) / math.sqrt(HIDDEN // HEADS)
        scores[:, :, np.array(mask) == 0] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("iab,bid->aid", shares / shares.sum(-1, keepdims=True), v).reshape(len(ids), HIDDEN)
        state = normed(state + dense(mixed, w, f"{here}attention.output.dense"), w, f"{here}attention.output.LayerNorm")
        inner = dense(state, w, f"{here}intermediate.dense")
        inner *= 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        state = normed(state + dense(inner, w, f"{here}output.dense"), w, f"{here}output.LayerNorm")
    return state


def test_a_bert_gives_what_its_definition_gives(tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    made = weights(np.random.default_rng(4))
    places = np.arange(PLACES)[None]
    write_safetensors(tmp_path / "model.safetensors", {"bert.embeddings.position_ids": places, **made})
    assert set(read_weights(tmp_path / "model.safetensors")) == set(made)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    export(tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "vocab.txt").read_text() == "[PAD]\n"
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    for ids, mask in (([2], [1]), ([2, 5, 7, 3], [1, 1, 1, 1]), ([2, 9, 9, 3, 0, 0], [1, 1, 1, 1, 0, 0])):
        feed = {"input_ids": [ids], "attention_mask": [mask], "token_type_ids": [[0] * len(ids)]}
        found = session.run(None, {name: np.array(one, dtype=np.int64) for name, one in feed.items()})[0][0]
        assert np.allclose(found, bert(made, ids, mask), atol=2e-5)


def test_other_kinds_of_model_are_refused(tmp_path):
    pytest.importorskip("onnx")
    write_safetensors(tmp_path / "model.safetensors", weights(np.random.default_rng(4)))
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "hidden_act": "relu"}))
    with pytest.raises(ValueError, match="hidden_act must be gelu"):
        export(tmp_path, tmp_path / "out")
