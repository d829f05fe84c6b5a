"""What a value of a specification may be: each check says what is wrong with a value, or None."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

FORMATS = (".parquet", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

Check = Callable[[object], str | None]  # what is wrong with a value, or None


def text(value: object) -> str | None:
    return None if isinstance(value, str) and value else "must be a non-empty string"


def one_of(*names: str) -> Check:
    def check(value: object) -> str | None:
        if value in names:
            return None
        near = nearest(value, names) if isinstance(value, str) else ""
        return f"is {value!r} and must be one of {', '.join(names)}{near}"

    return check


def whole(low: int, high: int) -> Check:
    def check(value: object) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if good else f"is {value!r} and must be a whole number from {low} to {high}"

    return check


def number(low: float) -> Check:
    def check(value: object) -> str | None:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value < float("inf")
        return None if good else f"is {value!r} and must be a number of at least {low}"

    return check


def above_zero(value: object) -> str | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
    return None if good else f"is {value!r} and must be a number above 0"


def source(value: object) -> str | None:
    if not isinstance(value, str):
        return "must be a path"
    return None if value.endswith(FORMATS) else f"is {value!r}, whose ending is none of {', '.join(FORMATS)}"


def flag(value: object) -> str | None:
    return None if isinstance(value, bool) else f"is {value!r} and must be true or false"


def matrix(value: object) -> str | None:
    return None if isinstance(value, str) and value.endswith(".npy") else f"is {value!r} and must name a .npy file"


def columns(value: object) -> str | None:
    return None if isinstance(value, dict) else "must be a table of name = kind"


def nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
