"""A blocking pyzmq worker behind a C proxy, features in LMDB: ``python -m mixline.tools.peers.lmdb_worker BACK``.

It speaks the node's frames, and answers with ids and scores as binary columns like the node.
"""

from __future__ import annotations

import os
import sys

import msgspec
import zmq

from mixline.ipc.calls import die_with_parent
from mixline.tools.peers.features import LmdbFeatures
from mixline.tools.peers.ranking import Ranking


def main(back: str) -> None:
    """Connect when ready; then one request after the other."""
    ranking = Ranking()
    features, encode = LmdbFeatures(ranking.folder), msgspec.msgpack.Encoder().encode
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(back)
    while True:
        client, header, body = socket.recv_multipart()
        similarity, rows = ranking.nearest([int(body)])
        page = ranking.page(similarity[0], rows[0], features.take(rows[0]))
        answer = encode({"ids": page.ids.tobytes(), "scores": page.scores.tobytes()})
        socket.send_multipart([client, header[:5] + bytes([header[5] | 0x80, 0, 0]) + header[8:], answer])


if __name__ == "__main__":
    die_with_parent(os.getppid())
    main(sys.argv[1])
