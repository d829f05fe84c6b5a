"""A filter that drops nothing and, when a request's ``params`` say so, hangs or dies: trouble in the real engine.

Only the trials' own surface names it. ``trouble``: ``loop`` (Python that never ends), ``native`` (C that never ends and
holds no GIL), ``sleep`` (a system call that does not return), ``nap`` (a third of a second of well-behaved work, time
enough to be stopped in), ``die`` (SIGSEGV).
"""

from __future__ import annotations

import hashlib
import os
import signal
import time

import numpy as np

from mixline.node.call import Call
from mixline.node.components import Filter

HANGS = ("loop", "native", "sleep")
NAP_S, STEP_S = 0.3, 0.002
ROUNDS = 2**31 - 1  # of PBKDF2: a quarter of an hour at least


class Trouble(Filter, frozen=True, kw_only=True):
    """Does as it is told."""

    def drops(self, call: Call) -> np.ndarray:
        """Nothing, if it comes to that."""
        match (call.ask.params or {}).get("trouble"):
            case "loop":
                while True:
                    pass
            case "native":
                hashlib.pbkdf2_hmac("sha256", b"", b"", ROUNDS)
            case "sleep":
                time.sleep(3600)
            case "nap":
                end_s = time.monotonic() + NAP_S
                while time.monotonic() < end_s and not call.pulse():
                    time.sleep(STEP_S)
            case "die":
                os.kill(os.getpid(), signal.SIGSEGV)
        return np.zeros(len(call.block), bool)
