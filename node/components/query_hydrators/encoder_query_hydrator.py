"""The query's text as a vector, by a sentence encoder that lies beside the surface file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from mixline.node.components.base import QueryHydrator
from mixline.node.components.vectors import find_space, space_misfits
from mixline.node.sentence_encoder import EncoderError, SentenceEncoder, TooLate, load_encoder
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

TOKENS_MAX = 512


class EncoderQueryHydrator(QueryHydrator, frozen=True, kw_only=True):
    """The vector of the request's `query`, for a `nearest` with `query = "text"` (extra `[onnx]`; nothing is fetched).

    - `model`: a folder, from the surface file's folder: `model.onnx` (or `onnx/model.onnx`) with the inputs
      `input_ids`, `attention_mask` and perhaps `token_type_ids`, and `tokenizer.json` or a BERT `vocab.txt`.
    - `space`: the space that is asked, whose vectors were made by the same model; left out, the first of the store
      whose users have no vectors.
    - `pooling`: of a model that gives a vector for each token the `"mean"` or the first (`"cls"`); an output named
      `sentence_embedding` is taken as it is.
    - `normalize`: bring the vector to length 1.
    - `prefix`: what stands before the text, where a model was trained so (`"query: "`).
    - `tokens`: of the text that count.

    A `vector` that the request brings itself stays. A run may take its `share` (here .5) of the time that is left: one
    that by those before it would take more is not begun, and one that does is cut short. Then there is no vector, and
    the page is degraded. Vectors of the latest 1024 texts are remembered by each worker. Bits may differ between
    machines, as the library's do.
    """

    files: ClassVar[tuple[str, ...]] = ("model",)
    model: str
    space: str = ""
    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = True
    prefix: str = ""
    tokens: int = 128
    share: float = 0.5

    def wrong(self) -> Iterator[str]:
        yield from QueryHydrator.wrong(self)
        if not 3 <= self.tokens <= TOKENS_MAX:
            yield f"tokens = {self.tokens}: must lie in 3 .. {TOKENS_MAX}"
            return
        try:
            self._encoder()
        except (EncoderError, OSError) as error:
            yield f"model: {error}"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        yield from space_misfits(epoch, self.space, "text")
        space, dim = find_space(epoch, self.space, "text"), self._encoder().dim
        if space is not None and space.dim != dim:
            yield f"model: makes vectors of {dim} dimensions; space {space.name!r} has {space.dim}"

    def disabled(self, epoch: Epoch) -> str:
        return "" if find_space(epoch, self.space, "text") else "the store has no space for it"

    def bind(self, epoch: Epoch) -> SentenceEncoder:
        return self._encoder()

    def way(self, bound: SentenceEncoder) -> str:
        return f"{bound.dim} dimensions"

    def hydrate_query(self, call: Call) -> None:
        encoder: SentenceEncoder = call.bound
        if call.ask.vector is None and call.ask.query and call.ask.query.strip():
            try:
                call.enrich(vector=encoder.encode(self.prefix + call.ask.query, call.deadline_ns))
            except TooLate as late:
                call.degraded.append(f"no vector: {late}")

    def _encoder(self) -> SentenceEncoder:
        return load_encoder(self.model, self.pooling, self.tokens, self.normalize)
