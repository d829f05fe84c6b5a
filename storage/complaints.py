"""Faults of the user's files: gathered, counted by kind, told together.

A file with a million bad rows must give one line, and a file with three kinds of fault three lines, in one run.
"""

from __future__ import annotations

from pathlib import Path

from mixline.storage.errors import BadInput

SHOWN = 3  # examples in a line


class Complaints:
    """Each kind is (file, key path of the specification, what is wrong)."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str, str], tuple[int, list[str]]] = {}

    def add(self, path: Path, key: str, what: str, *, row: int | None = None, value: object = None) -> None:
        """One fault; rows are counted from 1 (a CSV header is no row)."""
        example = "" if row is None else f"row {row}"
        if value is not None:
            shown = repr(value)
            example += f" ({shown if len(shown) <= 60 else shown[:57] + '...'})"
        self.count(path, key, what, 1, [example])

    def count(self, path: Path, key: str, what: str, number: int, examples: list[str]) -> None:
        """``number`` faults of one kind, of which some are shown."""
        had, shown = self._kinds.get((str(path), key, what), (0, []))
        shown += [one for one in examples[: SHOWN - len(shown)] if one] if len(shown) < SHOWN else []
        self._kinds[str(path), key, what] = (had + number, shown)

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def about(self, path: Path, *keys: str) -> bool:
        """Whether there is one about these keys of a file."""
        return any((where, key) in {(str(path), one) for one in keys} for where, key, _ in self._kinds)

    @property
    def total(self) -> int:
        """All faults of all kinds."""
        return sum(number for number, _ in self._kinds.values())

    def lines(self) -> list[str]:
        found = []
        for (path, key, what), (number, shown) in self._kinds.items():
            where = ""
            if shown:
                where = f": {shown[0]}" if number == 1 else f": {number} rows, first at {'; '.join(shown)}"
            found.append(f"{path}: {key}: {what}{where}")
        return found

    def settle(self) -> None:
        """Raise :class:`BadInput` if there is any complaint."""
        if self._kinds:
            listed = "\n  ".join(self.lines())
            raise BadInput(f"the input is refused, no epoch was made\n  {listed}")
