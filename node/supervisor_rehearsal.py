"""The throw-away process of a reload: opens store and surfaces as a worker would, says what is wrong, and ends."""

from __future__ import annotations

import logging
import sys

import msgspec

from mixline.node.logs import ending_in_words, start_logging
from mixline.node.orders import WorkerOrders
from mixline.node.worker import make_engine


def main() -> None:
    """Exit code 0 when a worker with these orders would start."""
    fds = ("seat_fd", "arena_fd", "bell_fd", "meters_fd", "board_fd", "slots_fd", "broker_bell_fd")
    nowhere = dict.fromkeys(("parent", "seat", *fds), -1)
    orders = msgspec.convert({**nowhere, **msgspec.json.decode(sys.argv[1])}, WorkerOrders)
    start_logging(orders.log)
    with ending_in_words(logging.getLogger("mixline.rehearsal")):
        make_engine(orders)


if __name__ == "__main__":
    main()
