"""The part of a client that touches no socket: which calls are out, when to send again, when to give up.

Both clients drive it. Every call ends by its deadline plus a small grace, whatever the node does, and a late or doubled
reply finds no call and is dropped.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from mixline.ipc.errors import WireError
from mixline.ipc.wire import PRIORITY_DEFAULT, Kind, ReplyHeader, RequestHeader, Status
from mixline.node import limits
from mixline.node.errors import NodeError, error_of

RETRIED = frozenset((Status.NOT_READY, Status.WORKER_LOST, Status.SHUTTING_DOWN))
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.005, 0.2


class Call:
    """One request of a client; ``outcome`` is set once."""

    def __init__(
        self,
        kind: int,
        body: bytes = b"",
        surface: str = "",
        deadline_ms: float | None = None,
        priority: int = PRIORITY_DEFAULT,
        tenant: str = "",
        request_id: bytes | None = None,
    ) -> None:
        if len(body) > limits.request_bytes_max:
            text = f"the request has {len(body)} bytes, at most {limits.request_bytes_max} are sent"
            raise error_of(Status.TOO_LARGE, text)
        self.kind, self.body, self.surface = kind, body, surface
        self.priority, self.tenant = priority, tenant
        self.request_id = request_id or os.urandom(16)
        self.own_budget = deadline_ms is not None
        self.budget_s = deadline_ms / 1000 if deadline_ms is not None else limits.budget_default_us / 1e6
        self.deadline_s = 0.0  # runs from the first send: the last of many calls has as much time as the first
        self.tries = 0
        self.send_at_s = 0.0
        self.outcome: tuple[ReplyHeader, bytes] | NodeError | None = None

    def frames(self) -> list[bytes]:
        """The message, with what is left of the budget."""
        left_us = max(1, int((self.deadline_s - time.monotonic()) * 1e6))
        budget_us = left_us if self.own_budget or self.tries > 1 else 0
        header = RequestHeader(self.kind, self.request_id, budget_us, self.surface, self.tenant, self.priority)
        return [header.pack(), self.body]


class Calls:
    """The calls of one socket: fresh (never sent), waiting to be sent again, and out; at most a window of these."""

    def __init__(self) -> None:
        self.out: dict[bytes, Call] = {}
        self.waiting: list[Call] = []
        self.fresh: deque[Call] = deque()

    def __bool__(self) -> bool:
        return bool(self.out or self.waiting or self.fresh)

    def add(self, call: Call) -> None:
        """Take a call on."""
        self.fresh.append(call)

    def due(self) -> list[Call]:
        """Calls to send now; each counts as out from here on. Of calls under one request id, one is out at a time."""
        now_s, due = time.monotonic(), []
        for call in [call for call in self.waiting if call.send_at_s <= now_s]:
            if len(self.out) < limits.client_window and call.request_id not in self.out:
                self.waiting.remove(call)
                self.out[call.request_id] = call
                due.append(call)
        while self._has_fresh():
            call = self.fresh.popleft()
            call.deadline_s = now_s + call.budget_s
            self.out[call.request_id] = call
            due.append(call)
        for call in due:
            call.tries += 1
        return due

    def _has_fresh(self) -> bool:
        """Whether a call may be sent for the first time now."""
        room = len(self.out) + len(self.waiting) < limits.client_window
        return room and bool(self.fresh) and self.fresh[0].request_id not in self.out

    def resend_all(self) -> None:
        """The connection broke: whatever was out is asked again (all that we ask is idempotent)."""
        self.waiting[:0] = self.out.values()
        self.out.clear()

    def receive(self, frames: Sequence[bytes]) -> Call | None:
        """Match a reply; returns the call when it has ended."""
        try:
            header = ReplyHeader.unpack(frames[0])
        except (WireError, IndexError):
            return None
        call = self.out.pop(header.request_id, None)
        if call is None:
            return None
        if header.status.answered:
            call.outcome = (header, frames[1])
            return call
        delay_s = min(BACKOFF_FIRST_S * 2 ** (call.tries - 1), BACKOFF_MAX_S) * random.uniform(0.5, 1.5)
        if header.status in RETRIED and time.monotonic() + delay_s < call.deadline_s:
            call.send_at_s = time.monotonic() + delay_s
            self.waiting.append(call)
            return None
        text = msgspec.msgpack.decode(frames[1], type=dict).get("error", "")
        call.outcome = error_of(header.status, text, header.retry_after_us)
        return call

    def give_up(self) -> list[Call]:
        """End the calls for which nothing came in time."""
        late_s = time.monotonic() - limits.client_grace_ms / 1000
        late = [call for call in [*self.out.values(), *self.waiting] if call.deadline_s <= late_s]
        for call in late:
            call.outcome = error_of(Status.TIMEOUT, "no reply by the deadline; is the node running?")
            if self.out.get(call.request_id) is call:
                del self.out[call.request_id]
            else:
                self.waiting.remove(call)
        return late

    def wait_s(self) -> float:
        """How long to wait for the socket at most."""
        calls = [*self.out.values(), *self.waiting]
        ends = [call.deadline_s + limits.client_grace_ms / 1000 for call in calls]
        if self._has_fresh():
            return 0.0
        if len(self.out) < limits.client_window:
            ends += [call.send_at_s for call in self.waiting if call.request_id not in self.out]
        return max(0.0, min(ends, default=time.monotonic()) - time.monotonic())


def ask_call(surface: str, request: dict) -> Call:
    """A call for a page; :mod:`mixline.node.request` checks and encodes it before anything is sent."""
    from mixline.node.request import prepare  # brings NumPy, which a client that only echoes does not need

    header, body = prepare(surface, **request)
    deadline_ms = header.budget_us / 1000 if header.budget_us else None
    return Call(Kind.ASK, body, surface, deadline_ms, header.priority, header.tenant, header.request_id)


def apply_call(body: bytes, deadline_ms: float | None) -> Call:
    """A call that changes data: named in its body, so that it can be sent again."""
    return Call(Kind.APPLY, body, deadline_ms=limits.apply_deadline_ms if deadline_ms is None else deadline_ms)


def page_of(outcome: tuple[ReplyHeader, bytes]):
    """Read an answered ask."""
    from mixline.node.page import decode_page

    return decode_page(*outcome)
