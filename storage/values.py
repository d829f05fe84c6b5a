"""What a value of each kind of column may be, and what is made of it; the same for a build and for a live update."""

from __future__ import annotations

import base64
from collections.abc import Callable

TAG_SEPARATOR = "|"
TRUE = ("true", "t", "yes", "1")
FALSE = ("false", "f", "no", "0")
I64_MIN, I64_MAX = -(1 << 63), (1 << 63) - 1

Parse = Callable[[object], object]


def to_float(value: object) -> float:
    if isinstance(value, (bool, bytes)) or (isinstance(value, str) and "_" in value):
        raise ValueError
    return float(value)  # type: ignore[arg-type]


def to_int(value: object) -> int:
    if isinstance(value, (bool, bytes)) or (isinstance(value, str) and "_" in value):
        raise ValueError
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    found = int(value)  # type: ignore[call-overload]
    if not I64_MIN < found <= I64_MAX:
        raise ValueError
    return found


def to_bool(value: object) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE or word in FALSE:
            return word in TRUE
    elif value in (0, 1):
        return bool(value)
    raise ValueError


def to_text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


def to_label(value: object) -> str:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    raise ValueError


def to_tags(value: object) -> list[str]:
    if isinstance(value, str):
        return [tag for tag in (part.strip() for part in value.split(TAG_SEPARATOR)) if tag]
    if isinstance(value, list):
        return [to_label(tag) for tag in value if tag is not None]
    raise ValueError


def to_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return base64.b64decode(value, validate=True)
    raise ValueError


PARSE: dict[str, tuple[Parse, str]] = {
    "f32": (to_float, "not a number"),
    "i64": (to_int, "not a whole number above -2^63 and below 2^63"),
    "bool": (to_bool, "not true or false"),
    "category": (to_label, "not a string or whole number"),
    "tags": (to_tags, "not a list of strings (nor a string split by |)"),
    "text": (to_text, "not a string"),
    "bytes": (to_bytes, "not bytes (nor a base64 string)"),
}
