"""``mixline ask``: one request from the command line."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from mixline.node.client import Client
from mixline.node.page import Page
from mixline.tools.tables import show_table

FIELDS_SHOWN_MAX = 4


def as_id(text: str) -> int | str:
    """An id of digits is an integer; ``str:42`` is the string."""
    if text.startswith("str:"):
        return text[4:]
    return int(text) if text.isascii() and text.isdigit() else text


@click.command()
@click.argument("surface")
@click.option("--endpoint", default="tcp://127.0.0.1:5571", show_default=True, help="Where the node listens.")
@click.option("--user", help="External user id; digits are an integer, str:42 is the string 42.")
@click.option("--item", "items", multiple=True, help="External item id; may be given several times.")
@click.option("--query", help="Query text, for surfaces that take one.")
@click.option("--limit", type=int, help="Items on the page (default: the surface's).")
@click.option("--field", "fields", multiple=True, help="Record field to show (default: all).")
@click.option("--deadline-ms", type=float, help="Deadline in milliseconds (default: the surface's).")
@click.option("--explain", is_flag=True, help="Show what every component did and the terms of each score.")
@click.option("--json", "as_json", is_flag=True, help="Print the page as one JSON object.")
def ask(
    surface: str,
    endpoint: str,
    user: str | None,
    items: tuple[str, ...],
    query: str | None,
    limit: int | None,
    fields: tuple[str, ...],
    deadline_ms: float | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Ask SURFACE of a running node and print the page."""
    arguments: dict[str, Any] = {"query": query, "limit": limit, "deadline_ms": deadline_ms, "explain": explain}
    if user is not None:
        arguments["user"] = as_id(user)
    if len(items) == 1:
        arguments["item"] = as_id(items[0])
    elif items:
        arguments["items"] = [as_id(item) for item in items]
    with Client(endpoint) as client:
        page = client.ask(surface, fields=list(fields) or ["*"], **arguments)
    if as_json:
        click.echo(msgspec.json.encode(page.to_dict()).decode())
        return
    show_page(surface, page, explain)


def show_page(title: str, page: Page, explain: bool = False, drawn: bool | None = None) -> None:
    """A table of the page; what is not whole is said on stderr."""
    names = list(page.fields)[:FIELDS_SHOWN_MAX]
    rows = [
        [at + 1, item, *(page.fields[name][at] for name in names), float(page.scores[at]), page.sources[at]]
        for at, item in enumerate(page.ids if isinstance(page.ids, list) else page.ids.tolist())
    ]
    show_table(title, ["#", "id", *names, "score", "sources"], rows, drawn=drawn)
    if page.spelling:
        click.echo(f"did you mean: {page.spelling}", err=True)
    for name, counted in page.facets.items():
        entries = [f"{one['value'] if 'value' in one else (one['from'], one['to'])} {one['count']}" for one in counted]
        click.echo(f"{name}: {', '.join(entries)}", err=True)
    for entry in page.coverage:
        if entry.state in ("degraded", "failed"):
            click.echo(f"{entry.stage} {entry.name}: {entry.state}: {entry.why}", err=True)
    if explain:
        show_explanation(page, drawn)


def show_explanation(page: Page, drawn: bool | None) -> None:
    """What each component did, and the terms of each item's score."""
    show_table(
        "components",
        ["stage", "name", "state", "taken", "left", "us", "how", "why"],
        [[e.stage, e.name, e.state, e.taken, e.left, e.us, e.how, e.why] for e in page.coverage],
        drawn=drawn,
    )
    ids = page.ids if isinstance(page.ids, list) else page.ids.tolist()
    terms = [
        [item, f"{scorer}: " + " + ".join(f"{name} {value:.4g}" for name, value in parts.items() if value)]
        for item, reason in zip(ids, page.explain or [], strict=False)
        for scorer, parts in reason["terms"].items()
    ]
    show_table("score terms", ["id", "terms"], terms, drawn=drawn)
    sys.stdout.flush()
