"""Parameters of a surface: typed and bounded values that its components are made with, as a request has them.

Wherever a component's table says ``"$name"`` the value of the parameter ``name`` stands. A value comes from the file,
from an experiment's arm, from the tenant, or from the request, the later ones first; under load it shrinks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

Value = bool | int | float | str
TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "text": (str,)}
QUALITY_STEPS = 16  # so many widths between a parameter's value and its least


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[params.NAME]`` of a surface file. ``values``: those that a text may have. ``least``: what a number shrinks to
    under load. ``request``: whether requests may set it; ``tenants``: the value for each of these."""

    type: Literal["int", "float", "bool", "text"]
    default: Value
    min: int | float | None = None
    max: int | float | None = None
    values: tuple[str, ...] | None = None
    least: int | float | None = None
    request: bool = False
    tenants: dict[str, Value] = {}

    def fault(self, value: Any) -> str:
        """What is wrong with a value, or nothing."""
        if not isinstance(value, TYPES[self.type]) or (isinstance(value, bool) and self.type != "bool"):
            return f"must be of type {self.type}"
        if self.type == "text":
            allowed = self.values
            return "" if allowed is None or value in allowed else f"must be one of {', '.join(map(repr, allowed))}"
        assert isinstance(value, int | float)
        number = float(value)
        if number != number:
            return "is no number"
        if self.min is not None and number < self.min:
            return f"must be at least {self.min}"
        return f"must be at most {self.max}" if self.max is not None and number > self.max else ""

    def extremes(self) -> Iterator[Value]:
        """Values that a component must bear besides the default."""
        if self.type == "bool":
            yield from (False, True)
        yield from self.values or ()
        yield from (one for one in (self.min, self.max, self.least) if one is not None)
        yield from self.tenants.values()

    def shrunk(self, value: Value, quality: float) -> Value:
        """The value under load: between itself and ``least``."""
        if self.least is None or isinstance(value, bool | str) or value <= self.least:
            return value
        found = self.least + (value - self.least) * quality
        return round(found) if self.type == "int" else found


def parameter_faults(parameters: Mapping[str, Parameter]) -> Iterator[str]:
    """All that is wrong with the declarations, by key."""
    for name, one in parameters.items():
        where = f"params.{name}"
        if not name.isidentifier():
            yield f"{where}: a name has letters, digits and '_'"
        if one.type in ("int", "float"):
            bounded = one.min is not None and one.max is not None
            if not bounded or one.min > one.max:  # type: ignore[operator]
                yield f"{where}: give min and max, and min not above max"
            if one.least is not None and one.fault(one.least):
                yield f"{where}.least = {one.least!r}: {one.fault(one.least)}"
        elif one.min is not None or one.max is not None or one.least is not None:
            yield f"{where}: min, max and least are of numbers"
        if one.type == "text" and not one.values:
            yield f"{where}: give values, the texts that it may be"
        if fault := one.fault(one.default):
            yield f"{where}.default = {one.default!r}: {fault}"
        for tenant, value in one.tenants.items():
            if fault := one.fault(value):
                yield f"{where}.tenants.{tenant} = {value!r}: {fault}"


def named_in(value: Any) -> Iterator[str]:
    """Parameters that a component's table names."""
    if isinstance(value, str) and value.startswith("$"):
        yield value[1:]
    elif isinstance(value, dict):
        yield from (name for one in value.values() for name in named_in(one))
    elif isinstance(value, list):
        yield from (name for one in value for name in named_in(one))


def filled(value: Any, values: Mapping[str, Value]) -> Any:
    """A component's table with values in the places of parameters."""
    if isinstance(value, str) and value.startswith("$"):
        return values[value[1:]]
    if isinstance(value, dict):
        return {key: filled(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, values) for one in value]
    return value
