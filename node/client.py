"""The blocking client: safe to use from any number of threads, since no two ever hold the same socket.

When the broker restarts the connection breaks; the client opens a fresh socket, so that nothing is queued twice, and
asks again what was out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from mixline.ipc.wire import Kind, ReplyHeader
from mixline.node.client_calls import Call, Calls, apply_call, ask_call, page_of
from mixline.node.errors import BadRequest, NodeError

if TYPE_CHECKING:
    from mixline.node.updates import Acknowledged, Updates


class Line:
    """A socket and the monitor that hears it break. Used by one thread at a time; the pool's lock hands it over."""

    def __init__(self, context: zmq.Context, endpoint: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 10)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()  # an open socket would hold up the context's end for ever
            raise BadRequest(f"endpoint {endpoint!r}: {error}; use tcp://HOST:PORT or ipc://PATH") from None

    def close(self) -> None:
        """Hang up; what was not sent is dropped."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)


class Client:
    """Asks a node at ``endpoint``. Use as a context manager, or call :meth:`close`."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._context = zmq.Context()
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._updates: Updates | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all sockets. No call may be under way."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
        self._context.term()

    def ask(self, surface: str, **request: Any) -> Any:
        """One page; raises the :class:`NodeError` of the status when there is none."""
        return page_of(self._one(ask_call(surface, request)))

    def why_not(self, surface: str, item: int | str, /, **request: Any) -> dict[str, Any]:
        """What became of one item in a request, served or not: its fate, and each source's distance to its cut-off
        (:mod:`mixline.node.why` lists the keys)."""
        return self.ask(surface, why=[item], **request).why[0]

    def ask_many(self, requests: Iterable[dict[str, Any]]) -> list[Any]:
        """Many pages, pipelined: each request is a dict with ``surface``; each result a page or its NodeError."""
        calls = []
        for request in requests:
            fields = dict(request)
            calls.append(ask_call(fields.pop("surface"), fields))
        self._run(calls)
        return [result_of(call) for call in calls]

    def apply(
        self, operations: Iterable[dict[str, Any]], *, deadline_ms: float | None = None, **named: Any
    ) -> Acknowledged:
        """Change data: a batch of operations (``docs/live.md``), all of them or none.

        When this returns they are durable and every later request on the node sees them. A batch that got no answer
        is sent again by itself within the deadline, and applied once. ``client=`` and ``sequence=`` name it across
        restarts of the caller. Raises the :class:`NodeError` of the status when it was refused.
        """
        with self._named().prepare(operations, **named) as prepared:
            return prepared.acknowledged(self._one(apply_call(prepared.body, deadline_ms))[1])

    def record(
        self,
        user: int | str,
        item: int | str,
        action: str = "",
        time: int | None = None,
        query: str = "",
        **named: Any,
    ) -> Acknowledged:
        """One event: ``user`` acted on ``item``, at ``time`` (seconds since 1970; left out, now), which was found by
        searching for ``query``."""
        from mixline.node.updates import event

        return self.apply([event(user, item, action, time, query)], **named)

    def forget(self, user: int | str, **named: Any) -> Acknowledged:
        """Remove a user from living data and its log; the active epoch knows them no more, ``mixline forget`` writes it
        again without. Takes as long as the log is long: give a ``deadline_ms``."""
        return self.apply([{"op": "forget", "user": user}], **named)

    def _named(self) -> Updates:
        from mixline.node.updates import Updates  # brings NumPy, which a client that only echoes does not need

        with self._lock:
            self._updates = self._updates or Updates()
            return self._updates

    def echo(self, body: bytes, deadline_ms: float | None = None) -> bytes:
        """The same bytes, through a worker and back."""
        return self._one(Call(Kind.ECHO, body, deadline_ms=deadline_ms))[1]

    def info(self, deadline_ms: float | None = None) -> dict[str, Any]:
        """What the broker says of itself and its workers."""
        return msgspec.msgpack.decode(self._one(Call(Kind.INFO, deadline_ms=deadline_ms))[1])

    def _one(self, call: Call) -> tuple[ReplyHeader, bytes]:
        self._run([call])
        if isinstance(call.outcome, NodeError):
            raise call.outcome
        assert call.outcome is not None
        return call.outcome

    def _run(self, wanted: list[Call]) -> None:
        calls = Calls()
        for call in wanted:
            calls.add(call)
        with self._lock:
            line = self._idle.pop() if self._idle else None
        line = line or Line(self._context, self.endpoint)
        try:
            while calls:
                line = self._turn(line, calls)
        except BaseException:
            line.close()
            raise
        with self._lock:
            self._idle.append(line)

    def _turn(self, line: Line, calls: Calls) -> Line:
        """Send what is due and wait for one event; returns the line to go on with."""
        for call in calls.due():
            line.socket.send_multipart(call.frames())
        watched = [(line.socket, zmq.POLLIN), (line.monitor, zmq.POLLIN)]
        ready = dict(zmq.zmq_poll(watched, int(calls.wait_s() * 1000) + 1))
        if line.socket in ready:
            calls.receive(line.socket.recv_multipart())
        elif line.monitor in ready:
            line.close()
            line = Line(self._context, self.endpoint)
            calls.resend_all()
        calls.give_up()
        return line


def result_of(call: Call) -> Any:
    """The page of an ended ask, or its NodeError."""
    assert call.outcome is not None
    return call.outcome if isinstance(call.outcome, NodeError) else page_of(call.outcome)
