"""What a client raises: one class per status that is no answer, each with ``.status`` and the node's own words."""

from __future__ import annotations

from mixline.ipc.wire import Status


class ClientError(Exception):
    """A request that ended without an answer. ``retry_after_us`` is the node's advice, 0 when it gave none."""

    status = Status.INTERNAL

    def __init__(self, text: str, retry_after_us: int = 0) -> None:
        super().__init__(text)
        self.retry_after_us = retry_after_us


def _named(status: Status) -> type[ClientError]:
    name = "".join(part.capitalize() for part in status.split("_"))
    return type(name, (ClientError,), {"status": status, "__doc__": f"The request ended with {status}."})


BY_STATUS = {status: _named(status) for status in Status if not status.answered}
RETRIED = frozenset((Status.NOT_READY, Status.WORKER_LOST, Status.SHUTTING_DOWN))


def error_for(status: Status, text: str, retry_after_us: int = 0) -> ClientError:
    """The exception of a status."""
    return BY_STATUS[status](f"{status}: {text}", retry_after_us)
