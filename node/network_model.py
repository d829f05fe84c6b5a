"""A small network as its file has it: dense layers out of `.npz` or safetensors, told apart by what is in the file.

Layers come in the natural order of their names. PyTorch keeps weights (outputs, inputs), Keras and NumPy (inputs,
outputs). A file is read once in a process, and again when it is another.
"""

from __future__ import annotations

import json
import re
import zipfile
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixline.kernels.dense import Layer

HEADER_MAX = 100 << 20  # the format's own bound
DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
KINDS = {"weight": "weight", "kernel": "weight", "w": "weight", "bias": "bias", "b": "bias"}


class NetworkError(ValueError):
    """A model file that cannot be read, or is no chain of dense layers."""


class Network(NamedTuple):
    """Layers that fit one another, and how many numbers go in and come out."""

    layers: list[Layer]
    inputs: int
    outputs: int


def load_network(path: str, turned: bool) -> Network:
    """The network in a file; ``turned``: weights are (outputs, inputs). :class:`NetworkError` names the file and what
    is wrong with it."""
    try:
        facts = Path(path).stat()
        return read_network(path, turned, (facts.st_size, facts.st_ino, facts.st_mtime_ns))
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, EOFError) as error:
        raise NetworkError(f"{path}: {error}") from None


@lru_cache(maxsize=16)
def read_network(path: str, turned: bool, version: tuple[int, int, int]) -> Network:
    """The network in this version of the file."""
    if path.endswith(".safetensors"):
        arrays = read_safetensors(Path(path).read_bytes())
    elif path.endswith(".npz"):
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    else:
        raise NetworkError("give a file .npz or .safetensors")
    return network_of(arrays, turned)


def read_safetensors(raw: bytes) -> dict[str, np.ndarray]:
    """The float tensors of a safetensors file: 8 bytes with the length of a JSON header, the header, the numbers."""
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > min(HEADER_MAX, len(raw) - 8):
        raise NetworkError("no safetensors file: its header does not fit into it")
    header: Any = json.loads(raw[8 : 8 + size])
    body, found = memoryview(raw)[8 + size :], {}
    if not isinstance(header, dict):
        raise NetworkError("no safetensors file: its header is no table")
    for name, facts in header.items():
        if name == "__metadata__":
            continue
        if facts["dtype"] not in DTYPES:
            raise NetworkError(f"tensor {name!r} is {facts['dtype']}; known are {', '.join(DTYPES)}")
        start, stop = facts["data_offsets"]
        if not 0 <= start <= stop <= len(body):
            raise NetworkError(f"tensor {name!r} lies outside of the file")
        found[name] = np.frombuffer(body[start:stop], DTYPES[facts["dtype"]]).reshape(facts["shape"])
    return found


def network_of(arrays: dict[str, np.ndarray], turned: bool) -> Network:
    """Arrays by name as layers: ``NAME.weight`` and ``NAME.bias`` (or ``kernel``; ``w1``, ``b1``)."""
    layers: dict[tuple[tuple[bool, int, str], ...], dict[str, np.ndarray]] = {}
    for name, values in arrays.items():
        *stem, last = re.findall(r"[0-9]+|[a-zA-Z]+", name) or [name]
        if last.isdecimal() and stem:
            *stem, last = *stem[:-1], last, stem[-1]
        if last.lower() not in KINDS:
            raise NetworkError(f"array {name!r}: a layer has NAME.weight and NAME.bias")
        key = tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in stem)
        layers.setdefault(key, {})[KINDS[last.lower()]] = values
    if not layers:
        raise NetworkError("there is no layer in it")
    made = [layer_of(layers[key], at, turned) for at, key in enumerate(sorted(layers), 1)]
    for at, (one, other) in enumerate(pairwise(made), 1):
        if one.outputs != other.inputs:
            raise NetworkError(
                f"layer {at} gives {one.outputs} numbers, layer {at + 1} takes {other.inputs}; is layout right?"
            )
    return Network(made, made[0].inputs, made[-1].outputs)


def layer_of(parts: dict[str, np.ndarray], at: int, turned: bool) -> Layer:
    """One layer, the ``at``-th."""
    weight = parts.get("weight")
    if weight is None or weight.ndim != 2:
        raise NetworkError(f"layer {at} has no weights of two dimensions")
    weight = weight.T if turned else weight
    bias = parts.get("bias", np.zeros(weight.shape[1]))
    if bias.shape != weight.shape[1:]:
        raise NetworkError(f"layer {at}: {bias.shape} biases for {weight.shape[1]} outputs; is layout right?")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise NetworkError(f"layer {at}: a weight or a bias is no finite number")
    return Layer(np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))
