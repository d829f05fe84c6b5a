"""Threads for components that wait: for a service, a disk, a lock; a worker must not stand still with them.

A thread cannot be ended from outside. One whose component did not come back in time is left to itself, and counted as
held until it returns; so many may be held by one component, and so many there are in all. Coroutines go to one loop in
a thread of its own, and are cancelled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from mixline.node import limits

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from mixline.node.call import Call
    from mixline.node.components.base import Component

LOOK_S = 0.02  # how often a worker that waits beats its heart, and a coroutine is asked whether it is still wanted


class NoThread(Exception):
    """A component may not start now: too many runs of it, or of all, have not come back."""


class Job:
    """One run. ``error``: what it raised; ``given_up``: nobody waits for it any more."""

    __slots__ = ("done", "error", "given_up", "owner", "run")

    def __init__(self, owner: str, run: Callable[[], None]) -> None:
        self.owner, self.run = owner, run
        self.done = Event()
        self.error: BaseException | None = None
        self.given_up = False


class Threads:
    """Those of one process, made when they are needed and kept. ``tell(name)`` counts."""

    def __init__(self, most: int, held_most: int) -> None:
        self.most, self.held_most = most, held_most
        self.tell: Callable[[str], None] = ignore
        self.held: dict[str, int] = {}  # by component: runs that were given up and have not come back
        self.made = 0
        self._idle = 0
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = Lock()

    def start(self, job: Job) -> None:
        """Run it soon; :class:`NoThread` where it may not."""
        with self._lock:
            held = self.held.get(job.owner, 0)
            if held >= self.held_most:
                raise NoThread(f"not started: {held} earlier runs of it have not come back")
            if self._idle:
                self._idle -= 1
            elif self.made < self.most:
                self.made += 1
                Thread(target=self._work, name=f"mixline-apart-{self.made}", daemon=True).start()
            else:
                raise NoThread(f"not started: all {self.most} threads for components that wait are held")
        self._jobs.put(job)

    def give_up(self, job: Job) -> bool:
        """Wait no more; False when it came back in this moment."""
        with self._lock:
            if job.done.is_set():
                return False
            job.given_up = True
            self.held[job.owner] = self.held.get(job.owner, 0) + 1
        self.tell("given_up")
        return True

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job.run()
            except BaseException as error:  # noqa: BLE001  # whoever waits decides what it means
                job.error = error
            with self._lock:
                if job.given_up:
                    self.held[job.owner] -= 1
                self._idle += 1
                job.done.set()


def ignore(_: str) -> None:
    """Count nothing."""


THREADS = Threads(limits.threads_max, limits.threads_held_max)


class Loop:
    """The event loop of a process, in its own thread from the first coroutine on."""

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None
        self._lock = Lock()

    def run(self, call: Call, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What it returns or raises; it is cancelled once ``call`` is to stop."""
        from asyncio import new_event_loop, run_coroutine_threadsafe  # 6 MB that only coroutines need

        with self._lock:
            if self._loop is None:
                self._loop = new_event_loop()
                Thread(target=self._loop.run_forever, name="mixline-loop", daemon=True).start()
        future = run_coroutine_threadsafe(coroutine, self._loop)
        while True:
            try:
                return future.result(LOOK_S)
            except TimeoutError:
                if future.done():
                    raise  # its own
                if call.stopped():
                    future.cancel()
                    raise


LOOP = Loop()


class Awaited:
    """A component with coroutines, as one that waits for what they give."""

    def __init__(self, component: Component, methods: tuple[str, ...]) -> None:
        self._component = component
        for name in methods:
            method = getattr(component, name)
            if inspect.iscoroutinefunction(method):
                setattr(self, name, partial(self._wait, method))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._component, name)

    def _wait(self, method: Callable[..., Coroutine[Any, Any, Any]], call: Call, *given: Any) -> Any:
        return LOOP.run(call, method(call, *given))
