"""Versions of what a node is made of, against the gates that pyproject.toml sets, and the door into libzmq."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import import_module, metadata

from mixline.tools.doctor_finding import Case, Check, Finding
from mixline.tools.doctor_machine import Unseen

KERNEL_MIN = (5, 4)  # pidfd_open is of 5.3, waiting on a pidfd of 5.4
REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)>=([0-9.]+)$")
DOOR = "mixline.ipc.libzmq"


def numbers(version: str) -> tuple[int, ...]:
    """Leading numbers: ``26.2.1rc1`` -> (26, 2, 1)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def kernel(case: Case) -> Iterator[Finding]:
    release = case.machine.text("/proc/sys/kernel/osrelease")
    if numbers(release) < KERNEL_MIN:
        costs = "no node runs: deaths are noticed by pidfd"
        yield Finding("kernel", "bad", release, costs, f"Linux >= {'.'.join(map(str, KERNEL_MIN))}")
    else:
        yield Finding("kernel", "ok", release)


def python(case: Case) -> Iterator[Finding]:
    wanted = metadata.metadata("mixline")["Requires-Python"] or ">=3.11"
    yield judge_version("Python", platform.python_version(), wanted.removeprefix(">="))
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        costs = "the compiled modules are not declared safe without the GIL: importing them turns it on again"
        yield Finding("Python", "note", "a free-threaded build", costs, "use the ordinary build")


def judge_version(name: str, version: str, wanted: str) -> Finding:
    if numbers(version) >= numbers(wanted):
        return Finding(name, "ok", f"{version} (>= {wanted})")
    costs = "untested, and features that mixline relies on are missing"
    mend = f"pip install '{name}>={wanted}'" if name != "Python" else f"a Python >= {wanted} and a new environment"
    return Finding(name, "bad", f"{version}, needs >= {wanted}", costs, mend)


def packages(case: Case) -> Iterator[Finding]:
    for requirement in metadata.requires("mixline") or ():
        found = REQUIREMENT.match(requirement)  # those of the extras carry a marker
        if found is None:
            continue
        try:
            yield judge_version(found[1], metadata.version(found[1]), found[2])
        except metadata.PackageNotFoundError:
            mend = f"pip install '{requirement}'"
            yield Finding(found[1], "bad", "not installed", "no node runs without it", mend)


def libzmq(case: Case) -> Iterator[Finding]:
    import zmq

    yield Finding("libzmq", "ok", f"{zmq.zmq_version()}, in pyzmq {zmq.__version__}")


def libzmq_door(case: Case) -> Iterator[Finding]:
    try:
        reason = import_module(DOOR).available()
    except (ImportError, AttributeError) as error:
        reason = f"cannot be imported: {error}"
    yield judge_door(reason)


def judge_door(reason: str) -> Finding:
    """``reason``: why libzmq's C interface is not used, "" when it is."""
    if not reason:
        return Finding("libzmq C interface", "ok", "used")
    costs = "the message loop makes Python objects per message: about half the requests per second, same answers"
    mend = "unset MIXLINE_LIBZMQ" if "=off" in reason else "pip install --force-reinstall --only-binary :all: pyzmq"
    return Finding("libzmq C interface", "warn", reason, costs, mend)


def lmdb_engine(case: Case) -> Iterator[Finding]:
    import lmdb

    engine = lmdb.version()
    found = ".".join(map(str, engine))
    if engine[:2] != (0, 9):
        costs = "stores are written and read with LMDB 0.9; another engine may not read them"
        yield Finding("LMDB engine", "warn", found, costs, "pip install --force-reinstall --only-binary :all: lmdb")
    elif "site-packages" not in str(getattr(lmdb, "__file__", "")):
        raise Unseen(f"lmdb {found} is not installed as a package")
    else:
        yield Finding("LMDB engine", "ok", f"{found}, bundled by py-lmdb")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("kernel", kernel),
    ("Python", python),
    ("packages", packages),
    ("libzmq", libzmq),
    ("libzmq C interface", libzmq_door),
    ("LMDB engine", lmdb_engine),
)
