"""FastAPI under uvicorn (uvloop, httptools, no access log), answers encoded by orjson past FastAPI's own encoder.

``python -m mixline.tools.peers.fastapi_app PORT mapped | redis SOCKET``; one process, as many are started as wanted.
"""

from __future__ import annotations

import os
import sys

import orjson
import uvicorn
from fastapi import FastAPI, Response

from mixline.ipc.calls import die_with_parent
from mixline.tools.peers.features import MappedFeatures, RedisFeatures
from mixline.tools.peers.ranking import Ranking


def make_app(ranking: Ranking, features: MappedFeatures | RedisFeatures) -> FastAPI:
    """One route; ``async`` without a wait, since a thread pool would only cost."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/recommend")
    async def recommend(user: int) -> Response:
        similarity, rows = ranking.nearest([user])
        page = ranking.page(similarity[0], rows[0], features.take(rows[0]))
        body = orjson.dumps({"ids": page.ids, "scores": page.scores}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, media_type="application/json")

    return app


if __name__ == "__main__":
    die_with_parent(os.getppid())
    ours = Ranking()
    store = RedisFeatures(ours.folder, sys.argv[3]) if sys.argv[2] == "redis" else MappedFeatures(ours.folder)
    uvicorn.run(
        make_app(ours, store), port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False,
        log_level="warning", lifespan="off",
    )  # fmt: skip
