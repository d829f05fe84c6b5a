"""The supervisor's side of the nursery: one birth after the other, and another nursery when one is gone."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from mixline.ipc.calls import die_with_parent
from mixline.node.orders import FDS_MAX, BirthOrder, NurseryOrders
from mixline.node.supervisor_child import Child

EX_UNAVAILABLE = 69
EX_STALE = 75  # of a nursery that another bore: what it has loaded is not what is on disk
LINE_MAX = 64  # nurseries forked one from another, before one is started by exec: heaps only grow
log = logging.getLogger("mixline.supervisor")
# A worker is one core's; and threads that a BLAS starts when it is loaded take memory, and forbid to fork.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Birth(NamedTuple):
    """An order, and who is told: ``on_born(child)``, or ``on_failed()``; ``on_gone(child)`` when it has ended. One that
    ``stays`` is not recalled."""

    module: str
    orders: msgspec.Struct
    fds: Sequence[int]
    on_born: Callable[[Child], None]
    on_failed: Callable[[], None]
    on_gone: Callable[[Child], None]
    stays: bool = False


class Firstborn(NamedTuple):
    """A nursery that was forked before there was a loop: its pid, and the channel to it."""

    pid: int
    control: socket.socket


def fork_nursery(engine: str, config: str | None, store: str) -> Firstborn:
    """Load what children need and fork the first nursery, so that the supervisor shares the memory too.

    For a process that has done nothing yet. The nursery and its children leave by SystemExit.
    """
    os.environ.update(ONE_THREAD)
    from mixline.node import nursery

    nursery.load(engine, config, store)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent, pid = os.getpid(), os.fork()
    if pid:
        theirs.close()
        return Firstborn(pid, ours)
    ours.close()
    die_with_parent(parent)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    nursery.live(theirs)
    sys.exit()


class Nursery:
    """Where broker and workers come from. ``on_useless(exit_code)`` is called when the first ends without a birth."""

    def __init__(
        self,
        loop: Any,
        engine: str,
        config: str | None,
        store: str,
        first: Firstborn | None,
        on_useless: Callable[[int], None],
    ) -> None:
        self.loop = loop
        self.engine, self.config, self.store = engine, config, store
        self.on_useless = on_useless
        self.child: Child | None = None
        self.last: Child | None = None  # the latest, also when it is gone
        self.control: socket.socket | None = None
        self.births = 0
        self.failures = 0  # nurseries in a row that bore nobody
        self.closed = False
        self.line = 0  # see NurseryOrders
        self._first: Firstborn | None = first
        self._waiting: deque[Birth] = deque()
        self._asked: Birth | None = None
        self._number = 0
        self._go_fd = -1  # of a pipe: whoever was asked for begins when it reads a byte

    @property
    def busy(self) -> bool:
        """Somebody is about to be born."""
        return self._asked is not None

    def start(self) -> None:
        """The one that was forked at the start, or another by exec; what waits is asked of it."""
        if self.closed or self.child is not None:
            return
        self.line = 0
        if self._first is not None:
            child, control = Child(self.loop, self._first.pid, self.gone), self._first.control
            self._first = None
        else:
            control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            orders = NurseryOrders(os.getpid(), theirs.fileno(), self.engine, self.config, self.store)
            child = Child.run(self.loop, "mixline.node.nursery", orders, [theirs.fileno()], self.gone)
            theirs.close()
        self.take(child, control)

    def beside(self, on_useless: Callable[[int], None]) -> Nursery:
        """Another one, which loads what has changed on disk while this one goes on."""
        other = Nursery(self.loop, self.engine, self.config, self.store, None, on_useless)
        other.start()
        return other

    def successor(self, on_useless: Callable[[int], None]) -> Nursery:
        """One that this one bears: it has all modules at once, reads the configuration anew, and ends with exit code
        EX_STALE where a module's file has changed. Where this one cannot, or too many were borne so, one by exec."""
        if self.child is None or self.control is None or self.line >= LINE_MAX:
            return self.beside(on_useless)
        other = Nursery(self.loop, self.engine, self.config, self.store, None, on_useless)
        other.line = self.line + 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        orders = NurseryOrders(os.getpid(), theirs.fileno(), self.engine, self.config, self.store, other.line)

        def failed() -> None:
            theirs.close()
            if not other.closed and other.child is None:
                other.line = 0
                ours.close()
                other.start()

        def born(child: Child) -> None:
            theirs.close()
            if other.closed:
                ours.close()
                return
            other.take(child, ours)

        self.ask(Birth("mixline.node.nursery", orders, [theirs.fileno()], born, failed, other.gone, stays=True))
        return other

    def take(self, child: Child, control: socket.socket) -> None:
        """Have this nursery, which listens at the other end of ``control``."""
        self.child, self.last, self.control = child, child, control
        self.control.setblocking(False)
        self.loop.add_reader(self.control.fileno(), self.listen)
        self.ask_next()

    def hand_over(self, other: Nursery) -> None:
        """Let another take over what waits here; what was asked is asked anew."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self.closed = True
        self.let_go()
        for birth in waiting:
            other.ask(birth)

    def ask(self, birth: Birth) -> None:
        """Order a process; it is born from the loop, later."""
        self._waiting.append(birth)
        self.ask_next()

    def ask_next(self) -> None:
        """One order at a time, so that no channel fills up and each answer is that of the last order."""
        if self._asked is not None or not self._waiting or self.control is None:
            return
        birth = self._asked = self._waiting.popleft()
        go_fd, self._go_fd = os.pipe()
        self._number += 1
        order = BirthOrder(self._number, birth.module, msgspec.json.encode(birth.orders).decode(), list(birth.fds))
        try:
            socket.send_fds(self.control, [msgspec.msgpack.encode(order)], [go_fd])
            for at in range(0, len(birth.fds), FDS_MAX):
                socket.send_fds(self.control, [b"+"], birth.fds[at : at + FDS_MAX])
        except OSError as error:  # it has just died; then gone() comes
            log.warning("nursery not told: %s", error)
        os.close(go_fd)

    def listen(self) -> None:
        """Read the pid of whoever was born."""
        assert self.control is not None
        try:
            packet = self.control.recv(64)
        except (BlockingIOError, ConnectionResetError):
            return
        if not packet:
            self.loop.remove_reader(self.control.fileno())
            return
        number, pid = msgspec.msgpack.decode(packet, type=tuple[int, int])
        self.births += pid > 0
        if number != self._number or self._asked is None:  # recalled meanwhile
            return
        if pid > 0:
            birth, self._asked = self._asked, None
            self.failures = 0
            birth.on_born(Child(self.loop, pid, birth.on_gone))
            with contextlib.suppress(BrokenPipeError):  # dead already
                os.write(self._go_fd, b"!")
            os.close(self._go_fd)
        else:
            self.fail()
        self.ask_next()

    def recall(self) -> None:
        """Nobody wants what was ordered any more, but for what stays."""
        self._waiting = deque(birth for birth in self._waiting if birth.stays)
        if self._asked is not None and not self._asked.stays:
            self._asked = None
            os.close(self._go_fd)

    def fail(self) -> None:
        """What was asked for does not come; should it exist all the same, it reads that it may not begin, and ends."""
        if self._asked is not None:
            failed, self._asked = self._asked, None
            os.close(self._go_fd)
            failed.on_failed()

    def gone(self, child: Child) -> None:
        """Have another, at once unless it bore nobody."""
        if child is not self.child:
            return
        self.let_go()
        if self.closed:
            return
        if child.exit_code != EX_STALE:
            log.warning("nursery %d is gone (%s)", child.pid, child.fate)
        if not self.births:
            self.on_useless(child.exit_code or EX_UNAVAILABLE)
            return
        self.failures += 1
        self.loop.call_later(min(0.05 * 2**self.failures, 5.0) if self.failures > 1 else 0.0, self.start)

    def let_go(self) -> None:
        """Close the channel; a nursery that reads it ends. What was asked of it was in vain."""
        if self.control is not None:
            self.loop.remove_reader(self.control.fileno())
            self.control.close()
        self.child = self.control = None
        self.fail()

    def close(self) -> None:
        """Nobody more is born."""
        self.closed = True
        self._waiting.clear()
        self.recall()
