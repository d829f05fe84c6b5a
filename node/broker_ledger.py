"""What the broker knows of every request, and the only record it believes.

A request stays in the ledger, and its slot untouched, until the worker that may read it has returned or died; that
it was answered with TIMEOUT in between changes nothing. The queue orders by priority, then earliest deadline, then
arrival.
"""

from __future__ import annotations

import heapq
from typing import Any

from mixline.ipc.blocks import Blocks
from mixline.node import limits

QUEUED, RUNNING, OVER = range(3)


class Request:
    """One request: where it lies, who waits for it, who runs it and which deaths it is charged with."""

    __slots__ = (
        "answered",
        "arrived_ns",
        "attempt",
        "crashes",
        "deadline_ns",
        "deaths",
        "envelope",
        "generation",
        "kind",
        "length",
        "priority",
        "request_id",
        "seat",
        "slot",
        "state",
    )

    def __init__(self, envelope: list[bytes], kind: int, request_id: bytes, priority: int, arrived_ns: int) -> None:
        self.envelope = envelope
        self.kind = kind
        self.request_id = request_id
        self.priority = priority
        self.arrived_ns = arrived_ns
        self.deadline_ns = 0
        self.slot = -1
        self.generation = 0
        self.length = 0
        self.attempt = 0
        self.seat = -1
        self.state = QUEUED
        self.answered = False
        self.deaths = 0  # workers that died while executing this
        self.crashes = 0  # of those, the deaths that the request may have caused: a fault, an abort, a hang


class Ledger:
    """All requests by slot, the queue and the deadlines."""

    def __init__(self) -> None:
        self.slots = Blocks(limits.slot_plan)
        self.by_slot: dict[int, Request] = {}
        self.queued = 0
        self.queued_bytes = 0
        self.waiting = 0  # requests whose peer has no reply yet
        self._queue: list[tuple[int, int, int, Request]] = []
        self._deadlines: list[tuple[int, int, Request]] = []
        self._sequence = 0

    def admit(self, request: Request, length: int) -> bool:
        """Give the request a slot; False when the queue or the slots of its size are full."""
        if self.queued >= limits.queue_max or self.queued_bytes + length > limits.queue_bytes_max:
            return False
        slot = self.slots.take(length)
        if slot < 0:
            return False
        request.slot, request.generation, request.length = slot, self.slots.generation(slot), length
        self.by_slot[slot] = request
        self.waiting += 1
        self.enqueue(request)
        heapq.heappush(self._deadlines, (request.deadline_ns, self._sequence, request))
        return True

    def enqueue(self, request: Request) -> None:
        """Queue a request, new or back from a worker that died."""
        request.state = QUEUED
        request.seat = -1
        self._sequence += 1
        self.queued += 1
        self.queued_bytes += request.length
        heapq.heappush(self._queue, (request.priority, request.deadline_ns, self._sequence, request))

    def first(self) -> Request | None:
        """The next request to run, left in the queue."""
        while self._queue and self._queue[0][3].state != QUEUED:
            heapq.heappop(self._queue)
        return self._queue[0][3] if self._queue else None

    def start(self, request: Request, seat: int) -> None:
        """The first of the queue goes to a seat."""
        heapq.heappop(self._queue)
        self._unqueue(request)
        request.state, request.seat = RUNNING, seat
        request.attempt += 1

    def _unqueue(self, request: Request) -> None:
        self.queued -= 1
        self.queued_bytes -= request.length

    def mark_answered(self, request: Request) -> None:
        """The peer has its one reply. The slot stays while a worker may read it."""
        if not request.answered:
            request.answered = True
            self.waiting -= 1
        if request.state == QUEUED:
            self._unqueue(request)
            self.forget(request)

    def forget(self, request: Request) -> None:
        """Nobody reads the slot any more; it may be used again."""
        request.state = OVER
        del self.by_slot[request.slot]
        self.slots.give(request.slot)

    def expired(self, now_ns: int) -> Request | None:
        """A request past its deadline without a reply, each once; None when there is none now."""
        heap = self._deadlines
        while heap:
            deadline_ns, _, request = heap[0]
            if request.state != OVER and not request.answered:
                if deadline_ns > now_ns:
                    return None
                heapq.heappop(heap)
                return request
            heapq.heappop(heap)
        return None

    def next_deadline_ns(self) -> int | None:
        """The earliest deadline still of interest; sweeps the heap when most of it is not."""
        heap = self._deadlines
        if len(heap) > 1024 and len(heap) > 2 * self.waiting:
            heap[:] = [entry for entry in heap if entry[2].state != OVER and not entry[2].answered]
            heapq.heapify(heap)
        while heap and (heap[0][2].state == OVER or heap[0][2].answered):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def find(self, slot: int, generation: int, attempt: int, seat: int) -> Request | None:
        """The request that a worker's descriptor names, if that worker may name it."""
        request: Any = self.by_slot.get(slot)
        if request is None or request.state != RUNNING:
            return None
        if (request.generation, request.attempt, request.seat) != (generation, attempt, seat):
            return None
        return request
