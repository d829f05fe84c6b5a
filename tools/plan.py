"""``mixline plan``: how a surface will run on a store; ``--analyze``: what each component did for one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from mixline.node.errors import BadRequest
from mixline.node.inprocess import Node, asked_now
from mixline.node.names import nearest
from mixline.node.planning import Measured, Planned, analyze, plan
from mixline.tools.ask import as_id

WARM_UP = 3  # requests before the one that is looked at
NAMED = 4  # columns; JSON has all
DEADLINE_MS = 60_000  # nobody waits, and what is cut short says nothing


@click.command("plan")
@click.argument("surface")
@click.option("--store", required=True, type=click.Path(exists=True, file_okay=False), help="The store it runs on.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="NODE.toml (docs/node.md).")
@click.option("--analyze", "analyzes", is_flag=True, help="Run a request, and say what each component did.")
@click.option("--user", help="Of that request, as for mixline ask.")
@click.option("--item", help="Of that request, as for mixline ask.")
@click.option("--limit", type=click.IntRange(min=1), help="Of that request.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan_command(
    surface: str,
    store: str,
    config: str | None,
    analyzes: bool,
    user: str | None,
    item: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """How SURFACE runs on a store: its components in order, their columns, and the way of each search."""
    if not analyzes and (user or item or limit):
        raise click.UsageError("--user, --item and --limit are of the request that --analyze runs")
    with Node.open(store, config) as node:
        pipelines = node.engine.pipelines
        if surface not in pipelines:
            hint = nearest(surface, pipelines)
            raise BadRequest(f"unknown surface {surface!r}{hint}; there are {', '.join(pipelines)}")
        done: list[Measured] = []
        if analyzes:
            given: dict[str, Any] = {"user": user and as_id(user), "item": item and as_id(item), "limit": limit}
            for _ in range(WARM_UP + 1):
                done = analyze(node.engine, asked_now(surface, **given, deadline_ms=DEADLINE_MS))
            pipelines[surface].choose_orders()
        steps = plan(pipelines[surface])
    if as_json:
        parts = {"steps": [each._asdict() for each in steps], "measured": [each._asdict() for each in done]}
        click.echo(msgspec.json.encode({"surface": surface, **parts}).decode())
        return
    click.echo(table(("stage", "name", "kind", "reads", "writes", "how it goes"), map(planned_row, steps)))
    if done:
        heads = ("stage", "name", "rows", "kept", "dropped", "us", "bytes", "how it went")
        click.echo("\n" + table(heads, map(measured_row, done), numbers=range(2, 7)))


def planned_row(step: Planned) -> Sequence[str]:
    """A line of the plan; what does not run says why."""
    how = f"off: {step.off}" if step.off else step.how
    told = [f"on_error {step.on_error}"] * (step.on_error != "skip") + [f"share {step.share:g}"] * (step.share != 1)
    how = "; ".join(filter(None, (how, *told)))
    return step.stage, step.name, step.kind, listed(step.reads), listed(step.writes), how


def listed(names: Sequence[str]) -> str:
    """Names, but not many."""
    if not names:
        return "-"
    return ", ".join(names) if len(names) <= NAMED else f"{', '.join(names[: NAMED - 1])} .. {names[-1]} ({len(names)})"


def measured_row(done: Measured) -> Sequence[str]:
    """A line of what was done."""
    entry = done.coverage
    went = "; ".join(filter(None, ("" if entry.state == "ok" else entry.state, entry.why, entry.how)))
    numbers = (done.rows, done.kept, done.dropped, entry.us, done.bytes)
    return entry.stage, entry.name, *(f"{number:,}" for number in numbers), went


def table(heads: Sequence[str], rows: Any, numbers: Sequence[int] | range = ()) -> str:
    """Columns as wide as they need; ``numbers`` stand to the right."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    found = []
    for line in lines:
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        found.append("  ".join(cells).rstrip())
    return "\n".join(found)
