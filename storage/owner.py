"""A handle knows the pid that opened it and refuses to work in another.

LMDB's environments and our leases do not survive a fork in the child; using them there corrupts
quietly, so it fails loudly.
"""

from __future__ import annotations

import os

from mixline.storage.errors import WrongProcess


class Process:
    """The one that this is: asking the kernel for its pid takes as long as looking up several rows."""

    pid = os.getpid()


def forked() -> None:
    """A child is another process."""
    Process.pid = os.getpid()


os.register_at_fork(after_in_child=forked)


class Owner:
    """The process that opened something; shared by all handles made from one epoch."""

    __slots__ = ("name", "open", "pid")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = Process.pid
        self.open = True

    def check(self) -> None:
        if self.pid != Process.pid:
            raise WrongProcess(
                f"{self.name}: opened by process {self.pid}, used by {Process.pid}; open the store again after a fork"
            )
        if not self.open:
            raise WrongProcess(f"{self.name}: used after close")
