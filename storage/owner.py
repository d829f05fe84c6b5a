"""A handle knows the pid that opened it and refuses to work in another.

LMDB's environments and our leases do not survive a fork in the child; using them there corrupts
quietly, so it fails loudly.
"""

from __future__ import annotations

import os

from mixline.storage.errors import WrongProcess


class Owner:
    """The process that opened something; shared by all handles made from one epoch."""

    __slots__ = ("name", "open", "pid")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = os.getpid()
        self.open = True

    def check(self) -> None:
        if self.pid != os.getpid():
            raise WrongProcess(
                f"{self.name}: opened by process {self.pid}, used by {os.getpid()}; open the store again after a fork"
            )
        if not self.open:
            raise WrongProcess(f"{self.name}: used after close")
