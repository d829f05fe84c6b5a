"""What a check of ``mixline doctor`` says, and what it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from mixline.tools.doctor_machine import Machine, Unseen

State = Literal["ok", "note", "warn", "bad"]
STATES: tuple[State, ...] = ("ok", "note", "warn", "bad")


class Finding(msgspec.Struct, frozen=True):
    """``costs``: what this does to requests or to the operator; ``mend``: the command. Both empty where all is well.

    ok: as it should be. note: worth knowing, or not to be seen from here. warn: requests pay for it. bad: a node does
    not run here, or not for long.
    """

    name: str
    state: State
    found: str
    costs: str = ""
    mend: str = ""
    details: tuple[dict[str, Any], ...] = ()


class Case(NamedTuple):
    """What the doctor is asked about: a machine, the node meant for it, and what there is of that node already."""

    machine: Machine
    workers: int
    clients: int
    store: Path | None = None
    endpoint: str | None = None
    sample_s: float = 0.5


Check = Callable[[Case], Iterator[Finding]]


def look(name: str, check: Check, case: Case) -> list[Finding]:
    """All that a check finds; a note under ``name`` where it cannot look, or cannot make sense of what it saw."""
    found: list[Finding] = []
    try:
        found.extend(check(case))
    except Unseen as error:
        found.append(Finding(name, "note", f"cannot look: {error}"))
    except (OSError, ValueError, LookupError) as error:  # a file that looks otherwise on some other kernel
        found.append(Finding(name, "note", f"cannot make sense of it: {type(error).__name__}: {error}"))
    return found


def size(count: int) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"
