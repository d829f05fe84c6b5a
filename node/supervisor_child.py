"""A child process of the supervisor: born in the nursery, or started by exec with the descriptors it may have; watched
by its pidfd.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec


def may_step_up() -> bool:
    """Whether this process may raise a priority again that it has lowered: root, or RLIMIT_NICE of 20 (man 2 nice)."""
    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20


class Child:
    """One process. ``on_gone(child)`` is called once from the loop, after it was reaped."""

    living: ClassVar[set[int]] = set()  # pids of all that are not reaped yet

    def __init__(
        self, loop: Any, pid: int, on_gone: Callable[[Child], None], process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.process = process
        self.pid = pid
        # The child is not reaped yet, so the pid cannot have been given to anybody else.
        self.pidfd = os.pidfd_open(self.pid)
        self.loop = loop
        self.on_gone = on_gone
        self.exit_code = 0
        self.death_signal = 0
        self.gone = self.stepped_back = False
        self.living.add(pid)
        loop.add_reader(self.pidfd, self._reap)

    @classmethod
    def run(
        cls,
        loop: Any,
        module: str,
        orders: msgspec.Struct | dict[str, Any],
        fds: Sequence[int],
        on_gone: Callable[[Child], None],
    ) -> Child:
        """Start a module by exec."""
        arguments = [sys.executable, "-m", module, msgspec.json.encode(orders).decode()]
        process = subprocess.Popen(arguments, pass_fds=tuple(fds), stdin=subprocess.DEVNULL)
        return cls(loop, process.pid, on_gone, process)

    def _reap(self) -> None:
        status = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        assert status is not None
        if status.si_code == os.CLD_EXITED:
            self.exit_code = status.si_status
        else:
            self.death_signal = status.si_status
        if self.process is not None:
            self.process.returncode = -self.death_signal or self.exit_code
        self.loop.remove_reader(self.pidfd)
        os.close(self.pidfd)
        self.gone = True
        self.living.discard(self.pid)
        self.on_gone(self)

    def send(self, number: int) -> None:
        """Send a signal to this very process, never to a later one of the same pid."""
        if not self.gone:
            signal.pidfd_send_signal(self.pidfd, number)

    def step_back(self) -> None:
        """Let those who serve go first while this one starts; only where :meth:`step_up` is allowed to undo it."""
        if may_step_up():
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, self.pid, 19)
                self.stepped_back = True

    def step_up(self) -> None:
        """Started: as important as the others."""
        if self.stepped_back:
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, self.pid, 0)
            self.stepped_back = False

    @property
    def fate(self) -> str:
        """How it ended, for the log."""
        return f"signal {self.death_signal}" if self.death_signal else f"exit code {self.exit_code}"


def reap_strangers() -> None:
    """Bury an ended process that is no :class:`Child`: a worker had started it and left it behind, and whoever asked to
    inherit what the nursery bears (:mod:`mixline.node.nursery`) inherits that too."""
    with contextlib.suppress(ChildProcessError):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_pid not in Child.living:
            os.waitpid(ended.si_pid, 0)
