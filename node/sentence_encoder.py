"""Sentence encoders in ONNX: from a text to the vector that a space of such vectors is asked with.

A model is a local folder as sentence-transformers and its exporters write it; nothing is ever fetched. One thread, one
text a run: a worker has one core, and a query is short.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from mixline.node.components.scorers.onnx_scorer import load_session

MODELS = ("model.onnx", "onnx/model.onnx")
TOKENIZERS = ("tokenizer.json", "vocab.txt")
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
TOKEN_CHARS = 32  # of a text so many for each token that counts are looked at
KEPT = 1024  # vectors of the latest texts
PROBE = "a short query"
OTHERS = 8  # a run costs as much as so many tokens, whatever it reads
FORGET = 0.8  # of what a run is thought to cost, after each that was not begun: what it cost once may be long ago


class EncoderError(ValueError):
    """The folder holds no model that could be used; the message names the file."""


class TooLate(Exception):
    """There is no vector in time; the message says what it would have taken."""


class SentenceEncoder:
    """One model. ``pooling``: the ``"mean"`` over the tokens, or the first one (``"cls"``), where the model gives a
    vector for each token; vectors are brought to length 1 where ``normalize``. Not for two threads at once.

    A run that has a deadline is not begun when those before it say that it would take longer, and is cut short there.
    """

    def __init__(self, folder: Path, pooling: str, tokens_max: int, normalize: bool) -> None:
        self._pooling, self._normalize = pooling, normalize
        self._chars_max = TOKEN_CHARS * tokens_max
        self._tokenizer = tokenizer_of(folder)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(tokens_max)
        file = first_of(folder, MODELS)
        try:
            self._session = load_session(str(file))
        except Exception as error:  # the library's own errors have no common base
            raise EncoderError(f"{file}: {error}") from error
        self._inputs: list[tuple[str, Any]] = []
        for one in self._session.get_inputs():
            if one.name not in INPUTS or one.type not in INTEGERS:
                raise EncoderError(f"{file}: takes {one.name} {one.type}; an encoder takes {', '.join(sorted(INPUTS))}")
            self._inputs.append((one.name, INTEGERS[one.type]))
        if not {"input_ids", "attention_mask"} <= {name for name, _ in self._inputs}:
            raise EncoderError(f"{file}: takes no input_ids and attention_mask")
        self._output = self._session.get_outputs()[0].name
        for one in self._session.get_outputs():
            if one.name == "sentence_embedding":
                self._output = one.name
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._token_ns = 0.0  # what a token cost lately
        try:
            self.dim = len(self.encode(PROBE))
        except Exception as error:  # as above
            raise EncoderError(f"{file}: encodes nothing: {error}") from error

    def encode(self, text: str, deadline_ns: int | None = None) -> np.ndarray:
        """The vector (dim,) of a text as float32, not to be written to; the latest are remembered. :class:`TooLate`
        where there is none before ``deadline_ns``, of the monotonic clock."""
        text = text[: self._chars_max]
        found = self._kept.pop(text, None)
        if found is None:
            found = self._run(text, deadline_ns)
            found.setflags(write=False)
            if len(self._kept) >= KEPT:
                self._kept.popitem(last=False)
        self._kept[text] = found
        return found

    def _run(self, text: str, deadline_ns: int | None) -> np.ndarray:
        tokens = self._tokenizer.encode(text)
        given = {"input_ids": tokens.ids, "attention_mask": tokens.attention_mask, "token_type_ids": tokens.type_ids}
        feed = {name: np.array([given[name]], dtype=dtype) for name, dtype in self._inputs}
        began_ns = time.monotonic_ns()
        size = len(tokens.ids) + OTHERS
        if deadline_ns is None:
            outputs = self._session.run([self._output], feed)
        else:
            outputs = self._bounded(feed, size, deadline_ns - began_ns)
        spent_ns = (time.monotonic_ns() - began_ns) / size
        self._token_ns += (spent_ns - self._token_ns) / (4 if self._token_ns else 1)
        found = np.asarray(outputs[0], dtype=np.float32)[0]
        if found.ndim == 2:
            found = found[0] if self._pooling == "cls" else found.mean(axis=0, dtype=np.float64)
        if found.ndim != 1:
            raise EncoderError(f"output {self._output}: {found.ndim + 1} dimensions; 2 or 3 are pooled")
        if self._normalize:
            found = found / max(float(np.linalg.norm(found)), 1e-12)
        return np.ascontiguousarray(found, dtype=np.float32)

    def _bounded(self, feed: dict[str, np.ndarray], size: int, room_ns: int) -> list[Any]:
        """Run within ``room_ns``, between two operations of the model; ``size``: in tokens."""
        expected_ns = self._token_ns * size
        if room_ns < expected_ns or room_ns <= 0:
            self._token_ns *= FORGET
            raise TooLate(f"a run takes some {expected_ns / 1e6:.1f} ms of {max(room_ns, 0) / 1e6:.1f}")
        from onnxruntime import RunOptions

        options = RunOptions()
        alarm = Timer(room_ns / 1e9, setattr, (options, "terminate", True))
        alarm.daemon = True
        alarm.start()
        try:
            return self._session.run([self._output], feed, options)
        except Exception:  # the library's own errors have no common base
            if not options.terminate:
                raise
            self._token_ns = max(self._token_ns, 2 * room_ns / size)  # it takes more than that, and who knows how much
            raise TooLate(f"a run of {size - OTHERS} tokens was cut short after {room_ns / 1e6:.1f} ms") from None
        finally:
            alarm.cancel()


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a model: as its library wrote it, or WordPiece over a vocabulary as BERT has it."""
    file = first_of(folder, TOKENIZERS)
    if importlib.util.find_spec("tokenizers") is None or importlib.util.find_spec("onnxruntime") is None:
        raise EncoderError("needs onnxruntime and tokenizers: pip install 'mixline[onnx]'")
    import tokenizers

    try:
        if file.name == "tokenizer.json":
            return tokenizers.Tokenizer.from_file(str(file))
        told = folder / "tokenizer_config.json"
        lowercase = json.loads(told.read_text()).get("do_lower_case", True) if told.is_file() else True
        return tokenizers.BertWordPieceTokenizer(str(file), lowercase=lowercase)
    except Exception as error:  # the library raises bare Exceptions
        raise EncoderError(f"{file}: {error}") from error


def first_of(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of some files that is there."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise EncoderError(f"{folder}: {'is no folder' if not folder.is_dir() else 'has no ' + ' or '.join(names)}")


def load_encoder(folder: str, pooling: str, tokens_max: int, normalize: bool) -> SentenceEncoder:
    """The encoder for this version of a model, one in a process; :class:`EncoderError` where there is none."""
    path = Path(folder)
    files = (first_of(path, MODELS), first_of(path, TOKENIZERS))
    facts = tuple((one.stat().st_size, one.stat().st_ino, one.stat().st_mtime_ns) for one in files)
    return open_encoder(folder, facts, pooling, tokens_max, normalize)


@lru_cache(maxsize=4)
def open_encoder(
    folder: str, version: tuple[tuple[int, int, int], ...], pooling: str, tokens_max: int, normalize: bool
) -> SentenceEncoder:
    return SentenceEncoder(Path(folder), pooling, tokens_max, normalize)
