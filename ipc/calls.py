"""What a process tells the kernel about itself: die with the parent, inherit orphans, carry a name.

The death signal is lost across exec of set-uid programs and says nothing when the parent died before it was set;
hence the check of the parent's pid right after.
"""

from __future__ import annotations

import os
import signal

from mixline.ipc import _os
from mixline.ipc.errors import IpcError

NAME_BYTES_MAX = 15  # TASK_COMM_LEN without its NUL


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel send SIGKILL to this process when its parent dies, however it dies.

    Raises IpcError when the parent is already gone: the caller must exit at once.
    """
    failure = _os.lib.mx_set_death_signal(signal.SIGKILL)
    if failure:
        raise IpcError(f"prctl(PR_SET_PDEATHSIG): {os.strerror(failure)}")
    if os.getppid() != parent_pid:
        raise IpcError(
            f"parent {parent_pid} is gone (now child of {os.getppid()}); a process of a node never outlives it"
        )


def adopt_orphans() -> None:
    """Have the kernel make this process the parent of every process below it whose own parent ends."""
    failure = _os.lib.mx_adopt_orphans()
    if failure:
        raise IpcError(f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(failure)}")


def set_name(name: str) -> None:
    """Name this process for ``ps`` and ``top``; at most 15 bytes are kept."""
    failure = _os.lib.mx_set_name(name.encode("ascii")[:NAME_BYTES_MAX])
    if failure:
        raise IpcError(f"prctl(PR_SET_NAME): {os.strerror(failure)}")


def trim_memory() -> bool:
    """Give what malloc holds free back to the system; True when there was something (glibc only)."""
    return bool(_os.lib.mx_trim())


def forget_code(data_too: bool = False) -> int:
    """Unmap all pages of code and constants of libraries: a start touches many that nothing touches again. What runs
    comes back from the page cache, a minor fault a page. ``data_too``, for a process with one thread: also those of
    data that nobody has written, which a child would inherit. The bytes looked at.
    """
    return int(_os.lib.mx_forget_code(data_too))
