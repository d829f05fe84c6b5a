"""Labels that came after the build: of categories, tags, actions, queries, in one file, numbered on from the epoch's.

A line is the number of its column (uint16), the bytes of the label (uint32) and the label. Readers read on from where
they were.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from mixline.storage.columns import Column
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadOperation
from mixline.storage.live_segments import QUERIES_MAX, QUERY_CHARS_MAX, Segment
from mixline.storage.past_queries import plain_query

LINE = struct.Struct("<HI")
LABEL_BYTES_MAX = 1 << 16
ACTIONS_MAX = 256  # a history has a byte for each


class Labelled(NamedTuple):
    """Labels and codes of one column as a process knows them."""

    labels: list[str]
    codes: dict[str, int]


def labelled(epoch: Epoch) -> list[Labelled]:
    """Every set of labels of an epoch, to grow: of actions, of columns in the order of the catalogues, of queries, of
    budgets."""
    actions = list(epoch.actions)
    found = [Labelled(actions, {label: code for code, label in enumerate(actions)})]
    for _, column in labelled_columns(epoch):
        found.append(Labelled(column.labels, column.codes))
    return [*found, Labelled([], {}), Labelled([], {})]


def labelled_columns(epoch: Epoch) -> list[tuple[str, Column]]:
    return [
        (catalogue.name, catalogue.columns[name])
        for catalogue in (epoch.items, epoch.users)
        for name, kind in catalogue.facts.columns.items()
        if kind in ("category", "tags")
    ]


class LiveLabels:
    """The writer's side."""

    def __init__(self, epoch: Epoch, segment: Segment) -> None:
        self._segment = segment
        self._sets = labelled(epoch)
        self._columns = [column for _, column in labelled_columns(epoch)]
        self._built = [len(one.labels) for one in self._sets]
        self._numbers = {
            (catalogue, column.name): at for at, (catalogue, column) in enumerate(labelled_columns(epoch), 1)
        }
        self.bytes = self.staged = 0
        self._fresh: list[tuple[int, str, int]] = []  # set, label, bytes before it

    def open(self, size: int) -> None:
        """Go on from what a state published."""
        read_labels(self._segment.values, 0, size, self._sets)
        self.bytes = self.staged = size

    def code(self, catalogue: str, column: Column, label: str) -> int:
        """The code of a label, staged when it is new."""
        return self._code(self._numbers[catalogue, column.name], label)

    def action(self, label: str) -> int:
        """The code of an action."""
        found = self._code(0, label)
        if found >= ACTIONS_MAX:
            raise BadOperation(
                f"action {label!r:.80}: the {ACTIONS_MAX + 1}th different one; at most {ACTIONS_MAX} are kept"
            )
        return found

    def query(self, query: str) -> int:
        """The code of a query from 1 on; 0 for none, and for what is not kept."""
        number = len(self._sets) - 2
        plain = plain_query(query) if 0 < len(query) <= QUERY_CHARS_MAX else ""
        labels, codes = self._sets[number]
        if not plain or (plain not in codes and len(labels) >= QUERIES_MAX):
            return 0
        return self._code(number, plain) + 1

    def queries(self) -> tuple[int, Labelled]:
        """The number of the set of queries, and the set."""
        return len(self._sets) - 2, self._sets[-2]

    def budget(self, label: str) -> int:
        """The code of a budget."""
        return self._code(len(self._sets) - 1, label)

    def _code(self, number: int, label: str) -> int:
        labels, codes = self._sets[number]
        found = codes.get(label)
        if found is not None:
            return found
        raw = label.encode("utf-8", "surrogatepass")
        if len(raw) > LABEL_BYTES_MAX:
            raise BadOperation(f"label {label!r:.80}: {len(raw)} bytes; at most {LABEL_BYTES_MAX}")
        line = np.frombuffer(LINE.pack(number, len(raw)) + raw, dtype=np.uint8)
        self._segment.take(self.staged, len(line))
        self._segment.values[self.staged : self.staged + len(line)] = line
        self._fresh.append((number, label, self.staged))
        self.staged += len(line)
        labels.append(label)
        codes[label] = len(labels) - 1
        return codes[label]

    def back(self, staged: int) -> None:
        """Forget the labels staged from this byte on."""
        while self._fresh and self._fresh[-1][2] >= staged:
            number, label, _ = self._fresh.pop()
            self._sets[number].labels.pop()
            del self._sets[number].codes[label]
        self.staged = staged

    def column_of(self, number: int) -> tuple[str, Column | None]:
        """Catalogue and column of a set; of actions none."""
        for (catalogue, _), (at, column) in zip(self._numbers, enumerate(self._columns, 1), strict=True):
            if at == number:
                return catalogue, column
        return "", None

    def first_codes(self) -> list[int]:
        """The code that the first label since the build got, by set."""
        return [*self._built]

    def rename(self, number: int, code: int, label: str) -> None:
        """Let a label be another."""
        labels, codes = self._sets[number]
        if codes.get(labels[code]) == code:
            del codes[labels[code]]
        labels[code] = label

    def release(self) -> None:
        """They count once the state says so."""
        self.bytes, self._fresh = self.staged, []


def read_labels(memory: np.ndarray, start: int, stop: int, sets: list[Labelled]) -> None:
    """Add the labels of ``memory[start:stop]`` to their sets."""
    raw = memory[start:stop].tobytes()
    at = 0
    while at < len(raw):
        number, size = LINE.unpack_from(raw, at)
        at += LINE.size
        label = raw[at : at + size].decode("utf-8", "surrogatepass")
        at += size
        labels, codes = sets[number]
        codes[label] = len(labels)
        labels.append(label)
