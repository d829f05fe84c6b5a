"""mosec, two workers, features in LMDB: ``python -m mixline.tools.peers.mosec_server --port N``.

``MIXLINE_PEER_BATCH`` above 1 turns its dynamic batching on: one faiss call then searches for several users.
"""

from __future__ import annotations

import os
from typing import Any

import orjson
from mosec import Server, Worker

from mixline.tools.peers.features import LmdbFeatures
from mixline.tools.peers.ranking import Page, Ranking

BATCH = int(os.environ.get("MIXLINE_PEER_BATCH", "1"))


class Recommend(Worker):
    """One process of the stage."""

    def __init__(self) -> None:
        super().__init__()
        self.ranking = Ranking()
        self.features = LmdbFeatures(self.ranking.folder)

    def deserialize(self, data: bytes) -> int:
        """The body is the user's number."""
        return int(data)

    def forward(self, data: Any) -> Any:
        """One user, or with batching a list of them."""
        users = data if isinstance(data, list) else [data]
        similarity, rows = self.ranking.nearest(users)
        pages = [self.ranking.page(similarity[at], rows[at], self.features.take(rows[at])) for at in range(len(users))]
        return pages if isinstance(data, list) else pages[0]

    def serialize(self, data: Page) -> bytes:
        """JSON by orjson."""
        return orjson.dumps({"ids": data.ids, "scores": data.scores}, option=orjson.OPT_SERIALIZE_NUMPY)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Recommend, num=2, max_batch_size=BATCH, max_wait_time=1)
    server.run()
