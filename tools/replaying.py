"""Requests of a journal asked again: on the epoch, the state of the log, the second and the quality that they had.

Whatever was answered undegraded comes out the same, bit for bit, under the same configuration; under another one the
differences are the configuration's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from mixline.ipc.wire import Kind, RequestHeader, Status
from mixline.node.config import NodeConfig
from mixline.node.engine import Engine
from mixline.node.errors import NodeError
from mixline.node.inprocess import never
from mixline.node.page import decode_answer, decode_ids
from mixline.node.request import decode_ask
from mixline.storage.errors import StorageError
from mixline.storage.journal_format import Entry
from mixline.storage.live_past import Past
from mixline.storage.live_view import LiveReader
from mixline.storage.store import Store

BUDGET_NS = 60_000_000_000  # nobody waits, and what is cut short says nothing
encode_ask = msgspec.msgpack.Encoder().encode


class Outcome(NamedTuple):
    """What came of a request asked again. ``error``: why there is no page; ``cpu_us``: of this thread."""

    entry: Entry
    status: Status
    ids: list
    scores: bytes
    cpu_us: float
    error: str = ""


def replay(
    store: Path, entries: Iterable[Entry], config: NodeConfig, advance: Callable[[int], None] = lambda _: None
) -> list[Outcome]:
    """Ask again, in the order of what they were answered from."""

    def versions(entry: Entry) -> tuple[int, int]:
        return int(entry.fixed["epoch"]), int(entry.fixed["live_seq"])

    found: list[Outcome] = []
    for number, group in groupby(sorted(entries, key=versions), key=lambda entry: int(entry.fixed["epoch"])):
        some = list(group)
        try:
            epoch = Store(store).open(number, grows=True)
        except StorageError as error:
            found += [failed(entry, error) for entry in some]
            advance(len(some))
            continue
        engine = Engine(epoch, config)
        try:
            engine.warm_up()
            found += replay_epoch(store, engine, some, advance)
        finally:
            engine.close()
    return found


def replay_epoch(store: Path, engine: Engine, entries: list[Entry], advance: Callable[[int], None]) -> list[Outcome]:
    """The same for requests of one epoch, in the order of their states."""
    try:
        past = Past(store, engine.epoch)
    except StorageError as error:
        return [failed(entry, error) for entry in entries]
    found = []
    try:
        engine.live = LiveReader(engine.epoch, past.folder)
        for entry in entries:
            past.go_to(int(entry.fixed["live_seq"]))
            found.append(again(engine, entry))
            advance(1)
    finally:
        past.close()
    return found


def again(engine: Engine, entry: Entry) -> Outcome:
    """One request."""
    fixed = entry.fixed
    ask = msgspec.structs.replace(
        decode_ask(entry.ask), time=int(fixed["time"]), limit=int(fixed["limit"]), explain=False, why=None
    )
    header = RequestHeader(
        Kind.ASK,
        entry.request_id,
        BUDGET_NS // 1000,
        entry.schema.surface,
        bytes(fixed["tenant"]).decode(),
        int(fixed["priority"]),
    )
    engine.quality = lambda: float(fixed["quality"])
    engine.cursors.now = lambda: int(fixed["answered_ns"]) // 1_000_000_000
    began = time.thread_time_ns()
    try:
        status, body = engine.answer(header, encode_ask(ask), time.monotonic_ns() + BUDGET_NS, never)
    except NodeError as error:
        return failed(entry, error)
    finally:
        engine.effect = None
    cpu_us = (time.thread_time_ns() - began) / 1000
    answer = decode_answer(body)
    ids = decode_ids(answer.ids)
    return Outcome(entry, status, ids if isinstance(ids, list) else ids.tolist(), answer.scores, cpu_us)


def failed(entry: Entry, error: Exception) -> Outcome:
    """No page."""
    return Outcome(entry, getattr(error, "status", Status.INTERNAL), [], b"", 0.0, f"{type(error).__name__}: {error}")


def served_ids(entry: Entry) -> list:
    """The page as it was."""
    slate = entry.columns["slate"].tolist()
    ids = entry.item_ids if isinstance(entry.item_ids, list) else entry.item_ids.tolist()
    return [ids[at] for at in slate]


def served_scores(entry: Entry) -> bytes | None:
    """The page's scores as they were; None where the journal was told to leave them out."""
    final = entry.schema.final
    if not final:
        return bytes(4 * len(entry.columns["slate"]))
    column = entry.columns.get(final)
    return None if column is None else column[entry.columns["slate"]].astype("<f4").tobytes()


class Difference(NamedTuple):
    """Pages before and after. ``same``: bit for bit; ``degraded``: were, or are, and so may differ. ``overlap``: mean
    share of a page's items that are on both; ``moved``: mean places by which an item on both moved; ``catalogue_*``:
    different items on any page; ``entered`` and ``left``: the items that came and went most often."""

    requests: int
    same: int
    same_ids: int
    degraded: int
    failed: int
    overlap: float
    first_kept: float
    moved: float
    catalogue_before: int
    catalogue_after: int
    entered: list
    left: list
    errors: dict[str, int]


def compare(outcomes: Iterable[Outcome]) -> Difference:
    """What differs from what was served."""
    same = same_ids = degraded = broken = first = 0
    overlaps, moves = [], []
    before: dict = {}
    after: dict = {}
    errors: dict[str, int] = {}
    total = 0
    for one in outcomes:
        total += 1
        if one.error:
            broken += 1
            errors[one.error] = errors.get(one.error, 0) + 1
            continue
        was, scores = served_ids(one.entry), served_scores(one.entry)
        ok = Status.OK.code
        degraded += int(one.entry.fixed["status"]) != ok or one.status.code != ok
        same_ids += was == one.ids
        same += was == one.ids and scores in (None, one.scores)
        places = {item: at for at, item in enumerate(one.ids)}
        common = [(at, places[item]) for at, item in enumerate(was) if item in places]
        overlaps.append(len(common) / max(len(was), len(one.ids), 1) if was or one.ids else 1.0)
        first += was[:1] == one.ids[:1]
        moves += [abs(at - now) for at, now in common]
        for counts, mine, other in ((before, was, places), (after, one.ids, set(was))):
            for item in mine:
                seen, alone = counts.get(item, (0, 0))
                counts[item] = seen + 1, alone + (item not in other)
    answered = max(1, total - broken)
    return Difference(
        requests=total,
        same=same,
        same_ids=same_ids,
        degraded=degraded,
        failed=broken,
        overlap=float(np.mean(overlaps)) if overlaps else 0.0,
        first_kept=first / answered,
        moved=float(np.mean(moves)) if moves else 0.0,
        catalogue_before=len(before),
        catalogue_after=len(after),
        entered=most_alone(after),
        left=most_alone(before),
        errors=errors,
    )


def most_alone(counts: dict, most: int = 5) -> list:
    """Items that are most often on one side only, with how often."""
    found = sorted(((alone, item) for item, (_, alone) in counts.items() if alone), key=lambda one: -one[0])
    return [(item, alone) for alone, item in found[:most]]
