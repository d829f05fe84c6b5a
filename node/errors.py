"""Failure, exception and wire status, in one table.

A component or the engine raises one of these, the worker sends its ``status`` with the message, and the client raises
the same class again, so that an in-process node and a served one fail alike.
"""

from __future__ import annotations

from mixline.ipc.wire import Status


class NodeError(Exception):
    """A request that got no answer. ``status`` is what the wire says; ``retry_after_us`` when to come back (0: any)."""

    status = Status.INTERNAL
    exit_code = 70

    def __init__(self, message: str, retry_after_us: int = 0) -> None:
        super().__init__(message)
        self.retry_after_us = retry_after_us


class BadRequest(NodeError):
    """The request is wrong; sending it again cannot help."""

    status = Status.BAD_REQUEST
    exit_code = 64


class NotFound(NodeError):
    """The request names a user or item that the store does not have."""

    status = Status.NOT_FOUND
    exit_code = 65


class TooLarge(NodeError):
    """The request, or its reply, exceeds a limit of :mod:`mixline.node.limits`."""

    status = Status.TOO_LARGE
    exit_code = 64


class Overloaded(NodeError):
    """The node refused at the door; ``retry_after_us`` says when there may be room."""

    status = Status.OVERLOADED
    exit_code = 75


class RequestTimeout(NodeError):
    """The deadline passed without an answer."""

    status = Status.TIMEOUT
    exit_code = 75


class WorkerLost(NodeError):
    """The workers that ran the request were killed from outside; it can be sent again."""

    status = Status.WORKER_LOST
    exit_code = 75


class Poison(NodeError):
    """The request crashed or hung two workers; it must not be sent again."""

    status = Status.POISON


class NotReady(NodeError):
    """No worker can serve yet."""

    status = Status.NOT_READY
    exit_code = 69


class ShuttingDown(NodeError):
    """The node is draining."""

    status = Status.SHUTTING_DOWN
    exit_code = 69


class Unauthorized(NodeError):
    """The node does not let this client in."""

    status = Status.UNAUTHORIZED
    exit_code = 77


class InternalError(NodeError):
    """A defect of the node or of a component; the message names it."""


class ConfigError(Exception):
    """A node or surface file, or a surface that does not fit the store. ``problems`` are all that was found."""

    exit_code = 78

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


_BY_STATUS: dict[Status, type[NodeError]] = {
    kind.status: kind
    for kind in (
        BadRequest,
        NotFound,
        TooLarge,
        Overloaded,
        RequestTimeout,
        WorkerLost,
        Poison,
        NotReady,
        ShuttingDown,
        Unauthorized,
        InternalError,
    )
}


def error_of(status: Status, message: str, retry_after_us: int = 0) -> NodeError:
    """The exception that stands for a status of the wire."""
    return _BY_STATUS[status](message, retry_after_us)
