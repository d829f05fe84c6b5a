"""``mixline bench together``: what a request costs alone, and among others that a worker is given at once.

The typical request of ``mixline bench serving``, in one process, so many at once in turn: CPU time of the engine,
medians over the rounds. By lists nothing is read together: what is gained is that requests go side by side. An exact
search shares its pass.
"""

from __future__ import annotations

import statistics
from functools import partial

import click

from mixline.tools.asking import Asking, in_rounds
from mixline.tools.bench import report
from mixline.tools.bench_warm import warm_data
from mixline.tools.serving_data import SURFACES

COMPANIES = (1, 2, 4, 8, 16)
ASKED = 1600  # in a round


@click.command("together")
@click.option("--items", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--surface", default="approximate", show_default=True, type=click.Choice(sorted(SURFACES)))
@click.option("--rounds", default=25, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True)
def together(items: int, surface: str, rounds: int, as_json: bool) -> None:
    """CPU time of a request alone against the same among others."""
    data = warm_data(items)
    asking = Asking(data / "store", data / "node.toml", surface)
    us = in_rounds({company: partial(asking.ask, ASKED, company) for company in COMPANIES}, rounds)
    asking.engine.close()
    result = {"items": items, "surface": surface}
    for company, found in us.items():
        shares = [one / alone for one, alone in zip(found, us[1], strict=True)]
        result[f"{company}_us"] = round(statistics.median(found), 1)
        result[f"{company}_to_alone"] = round(statistics.median(shares), 3)
    report(result, as_json)
