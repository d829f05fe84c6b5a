"""What a trial concludes: figures, the bars they are held against, and passed or failed.

A figure that could not be taken (None) misses its bar: a trial that saw nothing has shown nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import msgspec


class Bar(NamedTuple):
    """One promise. ``at_most`` False: the value must reach the limit instead of staying below it."""

    name: str
    value: float | None
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Whether the promise was kept."""
        if self.value is None or self.value != self.value:
            return False
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def to_dict(self) -> dict[str, Any]:
        return {
            "bar": self.name,
            "value": self.value,
            "at_most" if self.at_most else "at_least": self.limit,
            "met": self.met,
        }


def conclude(trial: str, figures: dict[str, Any], bars: Sequence[Bar], as_json: bool) -> None:
    """Print everything and end the process: 0 when every bar was met, else 1."""
    good = bool(bars) and all(bar.met for bar in bars)
    result = {"trial": trial, **figures, "bars": [bar.to_dict() for bar in bars], "passed": good}
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        for name, value in figures.items():
            click.echo(f"{name}\t{value:.4g}" if isinstance(value, float) else f"{name}\t{value}")
        for bar in bars:
            value = "nothing" if bar.value is None else f"{bar.value:.4g}"
            sign = "<=" if bar.at_most else ">="
            click.echo(f"{'met' if bar.met else 'MISSED'}\t{bar.name}: {value} ({sign} {bar.limit:g})")
        click.echo("passed" if good else "FAILED")
    sys.exit(0 if good else 1)
