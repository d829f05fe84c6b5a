"""The answer of a pipeline that ran to its end: the page, out of the settled block, and what else was asked of it."""

from __future__ import annotations

import numpy as np

from mixline.kernels.gather import gather
from mixline.node.call import Call
from mixline.node.errors import BadRequest
from mixline.node.explain import explain_slate
from mixline.node.page import Answer, encode_ids
from mixline.node.pipeline import Pipeline
from mixline.node.why import why
from mixline.storage.errors import UnknownName


def answer_of(call: Call, pipeline: Pipeline, cursor: str | None) -> Answer:
    """What the settled block says, as columns in page order; ``timing`` is left to whoever measures."""
    block, slate = call.block, call.block.slate
    columns = [block.row, block.sources]
    if pipeline.final:
        columns.append(call.numbers(pipeline.final))
    rows, sources, *scored = gather(columns, slate.astype(np.uint32))
    scores = scored[0] if scored else np.zeros(len(slate), dtype=np.float32)
    groups = b""
    if call.ask.users is not None:
        groups = np.searchsorted(block.group[slate], np.arange(call.groups + 1)).astype("<u4").tobytes()
    try:
        wanted = call.ask.fields or []
        wanted = call.epoch.items.fields if "*" in wanted else wanted
        fields = call.epoch.items.records(rows, wanted) if wanted else {}
    except UnknownName as error:
        raise BadRequest(str(error)) from None
    return Answer(
        ids=encode_ids(call.epoch.items.ids_of(rows)),
        scores=scores.astype("<f4", copy=False).tobytes(),
        sources=sources.astype("<u8", copy=False).tobytes(),
        source_names=pipeline.source_names,
        coverage=call.coverage,
        timing={},
        groups=groups,
        fields=fields,
        explain=explain_slate(call, pipeline) if call.ask.explain else None,
        why=why(call, pipeline, call.ask.why) if call.ask.why else None,
        assignments=call.assignments if call.ask.users is None else {},
        user_assignments=[call.assignments] * call.groups if call.assignments and call.ask.users is not None else [],
        quality=call.quality,
        cursor=cursor,
        told=call.told,
    )
