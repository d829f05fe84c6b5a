"""A plain blocking pyzmq worker that echoes: ``python -m mixline.tools.peers.echo_worker BACK``."""

from __future__ import annotations

import os
import sys

import zmq

from mixline.ipc.calls import die_with_parent


def main(back: str) -> None:
    """[client, header, body] comes; the same goes back with the header made a reply's."""
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(back)
    while True:
        client, header, body = socket.recv_multipart()
        socket.send_multipart([client, header[:5] + bytes([header[5] | 0x80, 0, 0]) + header[8:], body])


if __name__ == "__main__":
    die_with_parent(os.getppid())
    main(sys.argv[1])
