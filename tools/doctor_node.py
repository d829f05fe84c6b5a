"""A running node, asked by INFO as any client may: whether it answers, what it serves, and whom it lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mixline.node import Client
from mixline.node.errors import NodeError
from mixline.storage.errors import StorageError
from mixline.storage.store import Store
from mixline.tools.doctor_finding import Case, Check, Finding
from mixline.tools.doctor_limits import process_limits
from mixline.tools.doctor_machine import Unseen

ANSWER_MS = 2000
FILES_USED_MAX = 0.8
SERVING = ("ready", "standby", "retiring")


def node(case: Case) -> Iterator[Finding]:
    if case.endpoint is None:
        return
    try:
        with Client(case.endpoint) as client:
            info = client.info(ANSWER_MS)
    except NodeError as error:
        costs = "whoever asks there gets no page"
        mend = f"mixline serve --store STORE --bind {case.endpoint}, or systemctl status mixline"
        yield Finding("node", "bad", f"{case.endpoint}: {type(error).__name__}: {error}", costs, mend)
        return
    yield from judge_info(case, info)


def judge_info(case: Case, info: dict[str, Any]) -> Iterator[Finding]:
    """Findings from the answer to INFO (docs/protocol.md)."""
    yield judge_life(case.endpoint or "", info)
    yield judge_workers(info)
    yield judge_deaths(info)
    yield from judge_epoch(case, info)
    yield from judge_files(case, info)


def judge_life(endpoint: str, info: dict[str, Any]) -> Finding:
    found = f"{endpoint} answers: broker {info['pid']}, life {info['life']}, {info['queue']['requests']} queued"
    if info["draining"]:
        return Finding(
            "node", "warn", f"{found}, draining", "new requests get SHUTTING_DOWN", "wait, then start it again"
        )
    if info["life"] > 1:
        costs = "each death of a broker broke all connections; clients asked again what was open"
        return Finding(
            "node", "note", f"{found}: the broker was replaced", costs, "journalctl -u mixline | grep broker"
        )
    return Finding("node", "ok", found)


def judge_workers(info: dict[str, Any]) -> Finding:
    states: dict[str, int] = {}
    for each in info["workers"]:
        states[each["state"]] = states.get(each["state"], 0) + 1
    found = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    mend = "journalctl -u mixline | grep worker"
    if not states.get("ready"):
        return Finding("workers", "bad", found, "every request gets NOT_READY", mend)
    missing = len(info["workers"]) - sum(states.get(state, 0) for state in SERVING)
    if missing:
        costs = "less capacity until they are ready, and no standby for the next death"
        return Finding("workers", "warn", f"{found}: {missing} seats do not serve", costs, mend)
    return Finding("workers", "ok", found)


def judge_deaths(info: dict[str, Any]) -> Finding:
    """Counted in this life of the broker."""
    counters = info["counters"]
    told = ("redispatched", "worker_lost", "poison")
    found = ", ".join(f"{name.replace('_', ' ')} {counters.get(name, 0)}" for name in told)
    if counters.get("poison") or counters.get("worker_lost"):
        costs = "these requests were answered POISON or WORKER_LOST: two workers died under each"
        return Finding("deaths", "warn", found, costs, "journalctl -u mixline | grep -i -e signal -e poison")
    if counters.get("redispatched"):
        costs = "a worker died or hung under each of these; they were asked once more"
        return Finding("deaths", "note", found, costs, "journalctl -u mixline | grep -i signal")
    return Finding("deaths", "ok", found)


def judge_epoch(case: Case, info: dict[str, Any]) -> Iterator[Finding]:
    served = sorted({each["epoch"] for each in info["workers"] if each["state"] in SERVING})
    found = f"serves epoch {', '.join(map(str, served)) or 'none'}"
    try:
        current = Store(case.store).current() if case.store is not None else None
    except StorageError:
        current = None
    if current is not None and served and served != [current]:
        costs = "pages come from older data"
        mend = f"kill -HUP {info['supervisor_pid']} (systemctl reload mixline)"
        yield Finding("node epoch", "warn", f"{found}; active is {current}", costs, mend)
    elif len(served) > 1:
        yield Finding("node epoch", "note", found, "pages of two epochs alternate until the reload is over", "wait")
    else:
        yield Finding("node epoch", "ok", found)


def judge_files(case: Case, info: dict[str, Any]) -> Iterator[Finding]:
    """Descriptors of the running broker, where it runs on this machine and is ours to see."""
    pid = str(info["pid"])
    used = len(case.machine.names(f"/proc/{pid}/fd"))
    if not used:
        raise Unseen(f"/proc/{pid}/fd: the broker runs elsewhere, or as another user")
    soft, _ = process_limits(case, pid)["Max open files"]
    found = f"broker: {used} descriptors of {soft}"
    if used > FILES_USED_MAX * soft:
        mend = "LimitNOFILE=65536 in the unit, and restart"
        yield Finding("node files", "warn", found, "at the limit, connections are refused", mend)
    else:
        yield Finding("node files", "ok", found)


CHECKS: tuple[tuple[str, Check], ...] = (("node", node),)
