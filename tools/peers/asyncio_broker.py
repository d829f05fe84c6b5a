"""A broker on zmq.asyncio, the usual first one: a ROUTER for clients, a DEALER for workers, two tasks between them.

``python -m mixline.tools.peers.asyncio_broker FRONT BACK LOOP`` where LOOP is ``asyncio`` or ``uvloop``.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
import zmq
import zmq.asyncio

from mixline.ipc.calls import die_with_parent


async def forward(source: zmq.asyncio.Socket, target: zmq.asyncio.Socket) -> None:
    """Every message, whole, from one side to the other."""
    while True:
        await target.send_multipart(await source.recv_multipart())


async def main(front: str, back: str) -> None:
    """Bind both sides and forward for ever."""
    context = zmq.asyncio.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.bind(front)
    dealer.bind(back)
    await asyncio.gather(forward(router, dealer), forward(dealer, router))


if __name__ == "__main__":
    die_with_parent(os.getppid())
    (uvloop.run if sys.argv[3] == "uvloop" else asyncio.run)(main(sys.argv[1], sys.argv[2]))
