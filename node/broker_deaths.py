"""Who pays for a worker's death: the rule of DESIGN section 2, as one function without state.

Only the request that was executing is charged. It runs once more, alone. If that kills a worker too, and both are
of the kind that a request can cause, it is POISON; a SIGKILL comes from outside (the operator, the OOM killer), so then
the worker is merely lost.
"""

from __future__ import annotations

import signal

from mixline.ipc.wire import Status
from mixline.node import limits
from mixline.node.broker_ledger import Request

CRASHES = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE))


def verdict(request: Request, executing: bool, death_signal: int, hung: bool) -> Status | None:
    """Charge ``request`` with a death. None: it runs again; else the status that it ends with."""
    if not executing:
        return None
    request.deaths += 1
    request.crashes += hung or death_signal in CRASHES
    if request.deaths < limits.attempts_max:
        return None
    return Status.POISON if request.crashes == request.deaths else Status.WORKER_LOST
