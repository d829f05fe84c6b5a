"""The asyncio client: one socket for any number of tasks of one loop, the same rules as the blocking client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from mixline.ipc.wire import Kind, ReplyHeader
from mixline.node.client import Line, result_of
from mixline.node.client_calls import Call, Calls, apply_call, ask_call, page_of
from mixline.node.errors import NodeError

if TYPE_CHECKING:
    from mixline.node.updates import Acknowledged, Updates


class AsyncClient:
    """Asks a node at ``endpoint`` from the tasks of one event loop. Use as an asynchronous context manager."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._context = zmq.Context()
        self._calls = Calls()
        self._ended: dict[int, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._updates: Updates | None = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the driver and close the socket."""
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)
        self._context.term()

    async def ask(self, surface: str, **request: Any) -> Any:
        """One page; raises the NodeError of the status when there is none."""
        return page_of(await self._one(ask_call(surface, request)))

    async def why_not(self, surface: str, item: int | str, /, **request: Any) -> dict[str, Any]:
        """What became of one item in a request, as :meth:`mixline.node.client.Client.why_not` says."""
        return (await self.ask(surface, why=[item], **request)).why[0]

    async def ask_many(self, requests: Iterable[dict[str, Any]]) -> list[Any]:
        """Many pages, pipelined; each result a page or its NodeError."""
        calls = []
        for request in requests:
            fields = dict(request)
            calls.append(ask_call(fields.pop("surface"), fields))
        await asyncio.gather(*(self._finish(call) for call in calls))
        return [result_of(call) for call in calls]

    async def apply(
        self, operations: Iterable[dict[str, Any]], *, deadline_ms: float | None = None, **named: Any
    ) -> Acknowledged:
        """Change data, as :meth:`mixline.node.client.Client.apply` does."""
        from mixline.node.updates import Updates

        self._updates = self._updates or Updates()
        with self._updates.prepare(operations, **named) as prepared:
            return prepared.acknowledged((await self._one(apply_call(prepared.body, deadline_ms)))[1])

    async def record(
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

        return await self.apply([event(user, item, action, time, query)], **named)

    async def forget(self, user: int | str, **named: Any) -> Acknowledged:
        """As :meth:`mixline.node.client.Client.forget`."""
        return await self.apply([{"op": "forget", "user": user}], **named)

    async def echo(self, body: bytes, deadline_ms: float | None = None) -> bytes:
        """The same bytes, through a worker and back."""
        return (await self._one(Call(Kind.ECHO, body, deadline_ms=deadline_ms)))[1]

    async def info(self, deadline_ms: float | None = None) -> dict[str, Any]:
        """What the broker says of itself and its workers."""
        return msgspec.msgpack.decode((await self._one(Call(Kind.INFO, deadline_ms=deadline_ms)))[1])

    async def _one(self, call: Call) -> tuple[ReplyHeader, bytes]:
        await self._finish(call)
        if isinstance(call.outcome, NodeError):
            raise call.outcome
        assert call.outcome is not None
        return call.outcome

    async def _finish(self, call: Call) -> None:
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive())
        future = asyncio.get_running_loop().create_future()
        self._ended[id(call)] = future
        self._calls.add(call)
        self._wake.set()
        try:
            await future
        finally:
            del self._ended[id(call)]

    async def _drive(self) -> None:
        """Move messages until cancelled; the only task that touches the socket."""
        calls = self._calls
        line = self._open()
        try:
            while True:
                self._wake.clear()
                for call in calls.due():
                    line.socket.send_multipart(call.frames())
                # libzmq's descriptor tells of changes only, and sending may have swallowed one: so drain every time.
                while line.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                    self._end(calls.receive(line.socket.recv_multipart()))
                if line.monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                    self._hang_up(line)
                    line = self._open()
                    calls.resend_all()
                for late in calls.give_up():
                    self._end(late)
                timeout_s = calls.wait_s() if calls else None
                if timeout_s == 0 or line.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                    await asyncio.sleep(0)
                    continue
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), timeout_s)
        finally:
            self._hang_up(line)

    def _open(self) -> Line:
        line, loop = Line(self._context, self.endpoint), asyncio.get_running_loop()
        for each in (line.socket, line.monitor):
            loop.add_reader(each.getsockopt(zmq.FD), self._wake.set)
        return line

    def _hang_up(self, line: Line) -> None:
        for each in (line.socket, line.monitor):
            asyncio.get_running_loop().remove_reader(each.getsockopt(zmq.FD))
        line.close()

    def _end(self, call: Call | None) -> None:
        future = self._ended.get(id(call)) if call is not None else None
        if future is not None and not future.done():
            future.set_result(None)
