"""``mixline why``: what became of an item in a request, served or not."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from mixline.node.client import Client
from mixline.tools.ask import as_id
from mixline.tools.plan import table


@click.command()
@click.argument("surface")
@click.argument("item")
@click.option("--endpoint", default="tcp://127.0.0.1:5571", show_default=True, help="Where the node listens.")
@click.option("--user", help="Of the request, as for mixline ask.")
@click.option("--about", help="The item that the request is about, as --item of mixline ask.")
@click.option("--limit", type=int, help="Items on the page (default: the surface's).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(
    surface: str, item: str, endpoint: str, user: str | None, about: str | None, limit: int | None, as_json: bool
) -> None:
    """Why ITEM is on a page of SURFACE, or why not: its fate, and how near it came to the cut-off of each source."""
    given: dict[str, Any] = {"user": user and as_id(user), "item": about and as_id(about), "limit": limit}
    with Client(endpoint) as client:
        found = client.why_not(surface, as_id(item), **given)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    click.echo(f"{found['id']}: {fate_of(found)}")
    rows = [
        [name, "yes" if one["brought"] else "no", told(one["score"]), told(one["cutoff"])]
        for name, one in found.get("sources", {}).items()
    ]
    if rows:
        click.echo(table(("source", "brought it", "score", "least score brought"), rows))
    for scorer, terms in found.get("terms", {}).items():
        click.echo(f"{scorer}: " + " + ".join(f"{name} {value:.4g}" for name, value in terms.items()))


def fate_of(found: dict[str, Any]) -> str:
    """In words."""
    by = " and ".join(map(repr, found.get("by", ())))
    return {
        "served": f"served, place {found.get('place')} on the page",
        "reserve": f"in reserve, place {found.get('place')} behind the page",
        "dropped": f"dropped by the filter {by}",
        "left_out": f"left out inside the sources, by the filter {by}",
        "not_retrieved": "brought by no source",
        "deleted": "deleted",
        "unknown": "the store has no such item",
    }[found["fate"]]


def told(number: float | None) -> str:
    """A score, or that there is none."""
    return "-" if number is None else f"{number:.6g}"
