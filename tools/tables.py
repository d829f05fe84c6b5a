"""Tables: drawn with rich on a terminal that has it, else one tab-separated line per row, for pipes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

CELL_CHARACTERS_MAX = 60


def show_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[Any]], *, drawn: bool | None = None
) -> None:
    """Print rows under headings. ``drawn`` None: draw only on a terminal."""
    drawn = sys.stdout.isatty() if drawn is None else drawn
    if drawn:
        try:
            from rich.console import Console
            from rich.table import Table
        except ImportError:
            drawn = False
    if not drawn:
        click.echo("\t".join(headings))
        for row in rows:
            click.echo("\t".join(cell(value) for value in row))
        return
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="ellipsis", max_width=CELL_CHARACTERS_MAX)
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def cell(value: Any) -> str:
    """A value as text without tabs or newlines."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(one) for one in value)
    return "" if value is None else " ".join(str(value).split())
