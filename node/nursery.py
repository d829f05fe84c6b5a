"""The nursery: a process that has loaded what broker and workers need, and forks one whenever the supervisor asks.

Loading takes ten times as long as opening a store, and more memory than all else of a worker: a child of the nursery
has it at once, and shares it. Forking is safe here and nowhere else in a node, because this process has one thread and
holds no store, no segment and no message: only the supervisor's channel, which the child closes. See ADR 5.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mixline.ipc.calls import die_with_parent, forget_code, set_name, trim_memory
from mixline.node.orders import ENGINE, FDS_MAX, BirthOrder, NurseryOrders

EX_STALE = 75  # as the supervisor knows it: another must be started by exec
REHEARSALS = 8  # CPython 3.11 adapts a function that has run so often
ORDER_BYTES_MAX = 1 << 18  # a broker's names every seat


def main() -> None:
    """Entry of ``python -m mixline.node.nursery ORDERS``: a nursery that shares nothing with its supervisor, or one
    that another has borne, for what has changed on disk besides Python."""
    orders = msgspec.json.decode(sys.argv[1], type=NurseryOrders)
    die_with_parent(orders.parent)
    if orders.line:
        if any(facts_of(file) != facts for file, facts in _loaded.items()):
            sys.exit(EX_STALE)
        take_up(orders.engine, orders.config)
    else:
        load(orders.engine, orders.config, orders.store)
    live(socket.socket(fileno=orders.control_fd))


def live(control: socket.socket) -> None:
    """Be a nursery, and in each child what the child is to be."""
    set_name("mixline-nursery")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    order = attend(control)
    if order is not None:
        sys.argv = [order.module, order.orders]
        importlib.import_module(order.module).main()


def load(engine: str, config: str | None, store: str | None) -> None:
    """Import what children import, read the configuration, rehearse, and leave the memory so that they seldom write
    to it."""
    importlib.import_module("mixline.node.broker")
    importlib.import_module("mixline.node.broker_native")
    importlib.import_module("mixline.node.worker")
    if engine == ENGINE:  # another's module may start threads, and a reload must find it changed
        importlib.import_module("mixline.node.engine")
        from mixline.node.config import keep_node_config

        keep_node_config(config)  # a third less memory of a worker's own, and half the time of its start
        rehearse(store, config)
    gc.collect()
    trim_memory()
    forget_code(data_too=True)
    gc.freeze()  # a collection in a child writes to every object that it looks at
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{threads} threads: a fork would copy the locks that the others hold"
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    _loaded.update({file: facts_of(file) for file in files if file is not None})


def take_up(engine: str, config: str | None) -> None:
    """In a nursery that another bore, where all is loaded and rehearsed: read the configuration as it is now."""
    if engine == ENGINE:
        from mixline.node.config import keep_node_config

        keep_node_config(config)
    gc.collect()
    gc.freeze()


Facts = tuple[int, int, int] | None
_loaded: dict[str, Facts] = {}  # files of modules, as they were when this process had loaded everything


def facts_of(file: str) -> Facts:
    """Size, inode and time of a file; None where there is none."""
    try:
        facts = Path(file).stat()
    except OSError:
        return None
    return facts.st_size, facts.st_ino, facts.st_mtime_ns


def rehearse(store: str | None, config: str | None) -> None:
    """Open the store and close it again, as a worker does at its start, until Python has adapted what runs then to the
    types that it meets: it does so in place, and would do so on a copy of each page in every worker.

    Not where the configuration names components of the user's own, whose modules belong to workers.
    """
    from mixline.node.config import kept_node_config
    from mixline.node.engine import Engine

    kept = kept_node_config(config)
    if store is None or kept is None:
        return
    with contextlib.suppress(Exception):  # whatever it is, the first worker meets it too, and can say so
        for _ in range(REHEARSALS):
            Engine.open(store, kept).close()


def attend(control: socket.socket) -> BirthOrder | None:
    """Bear children until the supervisor closes the channel; in a child, what it is to be."""
    while True:
        packet, fds, _, _ = socket.recv_fds(control, ORDER_BYTES_MAX, 1)
        if not packet:
            return None
        order = msgspec.msgpack.decode(packet, type=BirthOrder)
        while packet and len(fds) <= len(order.fds):
            packet, more, _, _ = socket.recv_fds(control, 1, FDS_MAX)
            fds += more
        try:
            pid = bear()
        except OSError as error:  # no memory, or no process more is allowed: the supervisor tries again
            print(f"mixline-nursery: fork: {error}", file=sys.stderr)
            pid = -1
        if pid == 0:
            control.close()
            if not os.read(fds[0], 1):  # the supervisor does not know of us: it may have asked another for the same
                os._exit(0)
            os.close(fds[0])
            number(fds[1:], order.fds)
            return order
        for fd in fds:
            os.close(fd)
        control.send(msgspec.msgpack.encode([order.number, pid]))


def bear() -> int:
    """Fork a child of the supervisor's: the process between ends at once, and the supervisor, which has asked the
    kernel for it, inherits the child. The child's pid, -1 when there is none, and 0 in the child."""
    read_fd, write_fd = os.pipe()
    between = os.fork()
    if between:
        os.close(write_fd)
        os.waitpid(between, 0)
        told = os.read(read_fd, 8)
        os.close(read_fd)
        return int.from_bytes(told, "little") if told else -1
    between = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid:
        os.write(write_fd, pid.to_bytes(8, "little"))
        os._exit(0)
    os.close(read_fd)
    os.close(write_fd)
    while os.getppid() == between:  # a few microseconds: only then can the child ask to die with its parent
        os.sched_yield()
    return 0


def number(fds: Sequence[int], wanted: Sequence[int]) -> None:
    """Give descriptors the numbers under which the orders name them."""
    above = max((*fds, *wanted), default=0) + 1
    for fd, target in zip([lift(fd, above) for fd in fds], wanted, strict=True):
        os.dup2(fd, target, inheritable=False)
        os.close(fd)


def lift(fd: int, above: int) -> int:
    """Move a descriptor out of the way of those to come."""
    lifted: int = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above)
    os.close(fd)
    return lifted


if __name__ == "__main__":
    importlib.import_module("mixline.node.nursery").main()  # what it bears asks that module what was loaded
