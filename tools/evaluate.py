"""``mixline eval``: how good a surface is against what users chose afterwards, through the real pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from mixline.node.components.vectors import find_space
from mixline.storage.epoch import Epoch
from mixline.storage.store import Store
from mixline.tools.batch import batch_options, node_for, pages_of
from mixline.tools.people import ids_of, read_columns, truths
from mixline.tools.quality import Measure, coverage, diversity, gains, mean_of
from mixline.tools.tables import show_table


@click.command("eval")
@click.argument("store", type=click.Path(exists=True, file_okay=False, path_type=Path))
@batch_options
@click.option(
    "--test", "chosen", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Who chose what: Parquet, CSV or JSON lines, a pair in each row.",
)  # fmt: skip
@click.option("--item-column", default="item", show_default=True, help="Column of the file with items' ids.")
@click.option("--k", "depths", multiple=True, type=click.IntRange(1, 1000), default=(10, 20), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def evaluate(
    store: Path,
    surface: str,
    config: Path | None,
    endpoint: str | None,
    workers: int,
    user_column: str,
    at: int | None,
    chosen: Path,
    item_column: str,
    depths: tuple[int, ...],
    as_json: bool,
) -> None:
    """Recall, NDCG, MRR, hit rate, precision, coverage and diversity of a surface of STORE, with 95 % intervals.

    Every user of the file is asked for once. Items that the store lacks count as missed.
    """
    columns = read_columns(chosen, [user_column, item_column])
    with Store(store).open() as epoch:
        people = ids_of(epoch, "users", columns[user_column])
        users, wanted, unknown = truths(epoch, people, ids_of(epoch, "items", columns[item_column]))
        pages, degraded = [], 0
        with node_for(store, config, endpoint, workers) as client:
            request = {"limit": max(depths), "time": at}
            for _, page in pages_of(client, surface, users, f"{surface} for {len(users):,} users", **request):
                pages.append(epoch.items.rows_of(page.ids))
                degraded += page.status != "OK"
        found = {k: measures(epoch, pages, wanted, k) for k in sorted(set(depths))}
    facts = {"surface": surface, "users": len(users), "pairs": len(people), "unknown_items": unknown}
    facts |= {"degraded_pages": degraded}
    if as_json:
        told = {str(k): {name: one._asdict() for name, one in some.items()} for k, some in found.items()}
        click.echo(msgspec.json.encode({**facts, "at": told}).decode())
        return
    click.echo("  ".join(f"{name} {value}" for name, value in facts.items()))
    names = list(next(iter(found.values())))
    rows: list[list[Any]] = [[name, *(shown(some[name]) for some in found.values())] for name in names]
    show_table("", ["measure", *(f"at {k}" for k in found)], rows)


def measures(epoch: Epoch, pages: list[np.ndarray], wanted: list[np.ndarray], k: int) -> dict[str, Measure]:
    """All measures at ``k``."""
    found = {name: mean_of(values) for name, values in gains(pages, wanted, k).items()}
    part = coverage(pages, k, epoch.items.count)
    found["coverage"] = Measure(part, part, part)
    space = find_space(epoch, "", "item")
    if space is not None and space.items is not None:
        found["diversity"] = mean_of(diversity(pages, k, space.items))
    return found


def shown(measure: Measure) -> str:
    """A measure with its interval."""
    if measure.low == measure.high:
        return f"{measure.value:.4f}"
    return f"{measure.value:.4f} ({measure.low:.4f} .. {measure.high:.4f})"
