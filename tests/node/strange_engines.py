"""Engines for tests of the processes: they do what the body says, including the worst."""

import os
import signal
import time
from pathlib import Path

from mixline.ipc.wire import Status


class StrangeEngine:
    """Body ``sleep 0.2``, ``hang``, ``die SIGSEGV``, ``raise``, ``bulk 5000``; anything else is echoed with the pid."""

    epoch_number = 1
    live_seq = 0

    def __init__(self, store):
        self.store = store
        marker = Path(store) / "epoch"
        if marker.exists():
            self.epoch_number = int(marker.read_text())

    def answer(self, header, body, deadline_ns, pulse):
        words = bytes(body).decode(errors="replace").split()
        match words:
            case ["sleep", seconds]:
                end = time.monotonic() + float(seconds)
                while time.monotonic() < end:
                    if pulse():
                        return Status.TIMEOUT, b"cancelled"
                    time.sleep(0.001)
            case ["hang"]:
                while True:
                    time.sleep(1)
            case ["die", name]:
                os.kill(os.getpid(), getattr(signal, name))
                time.sleep(5)
            case ["raise"]:
                raise RuntimeError("as ordered")
            case ["bulk", length]:
                return Status.OK, bytes(int(length))
        return Status.OK, str(os.getpid()).encode() + b" " + bytes(body)


class CrashesOnTwo:
    """Opens a real store, and dies of SIGSEGV on its second epoch before it could serve."""

    live_seq = 0

    def __init__(self, store):
        from mixline.storage.store import Store

        with Store(store).open() as epoch:
            self.epoch_number = epoch.number
        if self.epoch_number == 2:
            os.kill(os.getpid(), signal.SIGSEGV)

    def answer(self, header, body, deadline_ns, pulse):
        return Status.OK, b"%d" % self.epoch_number
