"""``mixline bench load``: open-loop load on a node, its capacity, and what it does beyond it.

Without an endpoint it serves a store of its own. C, the capacity, is the highest open-loop rate at which every request
brings its page and each surface's p99 lies within its deadline, from the intended send time.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from mixline.node import Client
from mixline.node.config import load_node_config
from mixline.storage.store import Store
from mixline.tools.bench_store import sized_store
from mixline.tools.flight import Flight
from mixline.tools.load import schedule
from mixline.tools.load_mix import Mix, MixError, mix_from_file, mix_from_store
from mixline.tools.load_ramp import NoCapacity, find_capacity
from mixline.tools.processes import Neighbours, family, read
from mixline.tools.serving import serving
from mixline.tools.tables import show_table
from mixline.tools.volley import Volley
from mixline.tools.volley_zmq import ZmqTransport

STORE_MB = 16
PACE_S, PACE_IN_FLIGHT = 2.0, 16
GRACE_S = 5.0
CURVE = "0.2,0.4,0.6,0.8,0.9,1,1.1,1.3"
INFO_MS = 5000
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
POSITIVE = click.FloatRange(min=0, min_open=True)


class Range(NamedTuple):
    """Where shots are fired: one node, one mix, one way of arriving."""

    volley: Volley
    mix: Mix
    poisson_seed: int | None
    pids: Callable[[], Sequence[int]] | None  # None for a node on another machine

    def fly(self, rate: float, seconds: float) -> Flight:
        """Open loop at one rate."""
        due_ns = schedule(rate, seconds, self.poisson_seed)
        return self.volley.open(due_ns, self.mix.which(len(due_ns)), GRACE_S)


class Numbers(click.ParamType):
    """Positive numbers, comma-separated."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        try:
            found = [float(each) for each in value.split(",")] if isinstance(value, str) else list(value)
        except ValueError:
            found = []
        if not found or not all(0 < each < float("inf") for each in found):
            self.fail(f"{value!r}: write positive numbers, such as 1,2,5", param, ctx)
        return found


@contextmanager
def target(endpoint: str | None, store: Path | None, workers: int, config: Path | None) -> Iterator[str]:
    """The endpoint given, or a node of our own on ``store``."""
    if endpoint is not None:
        yield endpoint
        return
    assert store is not None
    with (
        tempfile.TemporaryDirectory(prefix="mixline-bench-") as folder,
        serving(store, Path(folder), workers, config) as (ours, _),
    ):
        yield ours


def node_pids(endpoint: str) -> Callable[[], Sequence[int]] | None:
    """How to list the node's processes; None when they are not on this machine. ClickException when nobody answers."""
    try:
        with Client(endpoint) as client:
            root = client.info(INFO_MS)["supervisor_pid"]
    except Exception as error:  # whatever the client says: an endpoint that is none, a time-out, another server
        raise click.ClickException(f"no node answers at {endpoint}: {error}") from error
    return (lambda: family([root])) if read(f"/proc/{root}/comm").startswith("mixline") else None


def make_mix(
    mix_file: Path | None,
    store: Path | None,
    config: Path | None,
    shares: Sequence[str],
    zipf: float,
    seed: int,
    limit: int | None,
) -> Mix:
    """From the file, or drawn from the store."""
    surfaces = load_node_config(config).surfaces
    if mix_file is not None:
        return mix_from_file(mix_file, surfaces, seed)
    assert store is not None
    wanted: dict[str, float] = {}
    for share in shares:
        name, _, weight = share.partition("=")
        try:
            wanted[name] = float(weight or 1)
        except ValueError:
            wanted[name] = -1
        if not 0 < wanted[name] < float("inf"):
            raise MixError(f"--surface {share}: write NAME or NAME=WEIGHT with a weight above 0")
    with Store(store).open() as epoch:
        return mix_from_store(epoch, wanted, surfaces, zipf, seed, limit)


def ramp(place: Range, seconds: float, degraded_too: bool, quiet: bool) -> tuple[float, list[dict[str, Any]]]:
    """C, and every probe on the way to it."""
    from mixline.tools.load_report import figures, why_not

    pace = place.volley.closed(place.mix.which(1 << 14), PACE_IN_FLIGHT, PACE_S).pace
    if not pace:
        raise click.ClickException("the node answered nothing in a closed loop; is a worker ready?")

    probes: list[dict[str, Any]] = []

    def probe(rate: float) -> bool:
        flight = place.fly(rate, seconds)
        reason = why_not(flight, place.mix, degraded_too)
        probes.append({**figures(rate, seconds, flight, place.mix), "why_not": reason})
        if not quiet:
            click.echo(f"{rate:10,.0f}/s  p99 {probes[-1]['p99_us'] / 1000:8.2f} ms  {reason or 'good'}", err=True)
        return not reason

    try:
        return find_capacity(pace * 0.8, probe), probes
    except NoCapacity as error:
        reason = probes[-1]["why_not"]
        raise click.ClickException(f"{error}; at the last: {reason}. --allow-degraded counts those as pages") from None


@click.command()
@click.option("--endpoint", help="A node that runs; without it one is started for the time of the benchmark.")
@click.option("--store", "store_folder", type=FOLDER, help="Serve, and draw from, this store.")
@click.option("--config", type=FILE, help="NODE.toml with the surfaces.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Of a node of our own.")
@click.option("--mix", "mix_file", type=FILE, help="TOML or JSON lines: what to ask.")
@click.option(
    "--surface",
    "shares",
    multiple=True,
    default=("homefeed",),
    show_default=True,
    help="NAME=WEIGHT, drawn from the store.",
)
@click.option(
    "--zipf", default=1.1, show_default=True, type=click.FloatRange(0, 5), help="Exponent of the frequencies."
)
@click.option("--limit", type=click.IntRange(min=1), help="Of each ask drawn from the store.")
@click.option("--seed", default=1, show_default=True, help="Of everything that is drawn.")
@click.option("--arrivals", type=click.Choice(["constant", "poisson"]), default="constant", show_default=True)
@click.option("--connections", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--rate", type=POSITIVE, help="Only this rate; without it, C is looked for.")
@click.option("--ramp", "wants_ramp", is_flag=True, help="Look for C (the default).")
@click.option("--capacity", type=POSITIVE, help="Take this for C instead of looking for it.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Of each run and probe.")
@click.option("--steps", type=Numbers(), help="Multiples of C to press the node with, such as 1,2,5,10.")
@click.option("--curve", type=Numbers(), help=f"Multiples of C for the curve (with --png: {CURVE}).")
@click.option("--allow-degraded", is_flag=True, help="A DEGRADED page is no error.")
@click.option("--histograms", is_flag=True, help="Put whole HdrHistograms into the JSON.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw latency against rate.")
@click.option("--json", "as_json", is_flag=True)
def load(
    endpoint: str | None,
    store_folder: Path | None,
    config: Path | None,
    workers: int,
    mix_file: Path | None,
    shares: tuple[str, ...],
    zipf: float,
    limit: int | None,
    seed: int,
    arrivals: str,
    connections: int,
    rate: float | None,
    wants_ramp: bool,
    capacity: float | None,
    seconds: float,
    steps: list[float] | None,
    curve: list[float] | None,
    allow_degraded: bool,
    histograms: bool,
    png: Path | None,
    as_json: bool,
) -> None:
    """Load a node on schedule; find its capacity; press it beyond."""
    check_options(endpoint, store_folder, mix_file, rate, wants_ramp, capacity, steps, curve, png)
    store = store_folder or (None if endpoint else sized_store(STORE_MB))
    mix = make_mix(mix_file, store, config, shares, zipf, seed, limit)
    with target(endpoint, store, workers, config) as where:
        pids = node_pids(where)
        transport = ZmqTransport(where, [(header.pack(), body) for header, body in mix.asks], connections)
        try:
            neighbours = Neighbours(pids() if pids else [])
            place = Range(Volley(transport), mix, seed if arrivals == "poisson" else None, pids)
            result: dict[str, Any] = {"endpoint": where, "arrivals": arrivals, "mix": mix.describe()}
            if rate is not None:
                result |= one_rate(place, rate, seconds, histograms)
            else:
                curve = curve or (Numbers().convert(CURVE, None, None) if png else [])
                c, probes = (capacity, []) if capacity else ramp(place, seconds, allow_degraded, as_json)
                result |= {"capacity": round(c, 1), "probes": probes}
                result |= around_capacity(place, c, seconds, steps or [], curve, histograms)
            if pids:
                result["cores_of_others"] = neighbours.cores(pids())
        finally:
            transport.close()
    if png is not None:
        draw(png, result, mix)
    click.echo(msgspec.json.encode(result).decode()) if as_json else show(result)


def check_options(
    endpoint: str | None,
    store: Path | None,
    mix: Path | None,
    rate: float | None,
    wants_ramp: bool,
    capacity: float | None,
    steps: list[float] | None,
    curve: list[float] | None,
    png: Path | None,
) -> None:
    """UsageError for what does not go together."""
    missing = [name for name in ("hdrh", *(["matplotlib"] if png else [])) if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f"this benchmark needs {', '.join(missing)}: pip install 'mixline[bench]'")
    if endpoint and not mix and not store:
        raise click.UsageError("--endpoint needs --mix FILE, or --store with the store that the node serves")
    if rate is not None and (wants_ramp or capacity or steps or curve or png):
        raise click.UsageError("--rate is one run; --ramp, --capacity, --steps, --curve and --png are around C")
    if wants_ramp and capacity:
        raise click.UsageError("--ramp looks for C and --capacity gives it: choose one")


def one_rate(place: Range, rate: float, seconds: float, encoded: bool) -> dict[str, Any]:
    """A constant rate."""
    from mixline.tools.load_report import figures

    return {"runs": [figures(rate, seconds, place.fly(rate, seconds), place.mix, encoded)]}


def around_capacity(
    place: Range, capacity: float, seconds: float, steps: Sequence[float], curve: Sequence[float], encoded: bool
) -> dict[str, Any]:
    """The curve through multiples of C, then the steps."""
    from mixline.tools.load_report import figures
    from mixline.tools.load_steps import run_step

    rates = [capacity * each for each in curve]
    return {
        "curve": [figures(rate, seconds, place.fly(rate, seconds), place.mix, encoded) for rate in rates],
        "steps": [run_step(place.volley, place.mix, capacity, each, seconds, place.pids) for each in steps],
    }


def draw(png: Path, result: dict[str, Any], mix: Mix) -> None:
    """The curve as a picture."""
    from mixline.tools.load_plot import plot

    names = ", ".join(f"{name} {share:.0%}" for name, share in result["mix"]["surfaces"].items())
    deadline_ms = float(mix.deadlines_us.min()) / 1000
    plot(png, result["curve"], result["capacity"], deadline_ms, f"{names}; {result['arrivals']} arrivals")


def show(result: dict[str, Any]) -> None:
    """Tables for people."""
    if "capacity" in result:
        click.echo(f"C = {result['capacity']:,.0f} requests per second")
    if result.get("cores_of_others", 0) > 0.1:
        click.echo(
            f"others kept {result['cores_of_others']:.2f} cores busy meanwhile: measure again on a quiet machine"
        )
    runs = [*result.get("runs", []), *result.get("curve", [])]
    if runs:
        show_table(
            "",
            ["rate/s", "goodput/s", "p50 ms", "p99 ms", "p99.9 ms", "statuses", "generator"],
            [
                [
                    run["rate"],
                    run["goodput"],
                    run["p50_us"] / 1000,
                    run["p99_us"] / 1000,
                    run["p999_us"] / 1000,
                    ", ".join(f"{name} {count}" for name, count in run["statuses"].items()),
                    run["generator"]["bottleneck"] or "not the limit",
                ]
                for run in runs
            ],
        )
    if result.get("steps"):
        show_table(
            "",
            [
                "x C",
                "goodput / C",
                "accepted p99 ms",
                "OVERLOADED",
                "their p99 ms",
                "calm after s",
                "RSS MB",
                "generator",
            ],
            [
                [
                    step["times"],
                    step["goodput_of_capacity"],
                    step["accepted_p99_us"] / 1000,
                    step["overloaded"],
                    step["overloaded_p99_us"] / 1000,
                    "never" if step["calm_after_s"] is None else step["calm_after_s"],
                    memory_of(step),
                    step["generator"]["bottleneck"] or "not the limit",
                ]
                for step in result["steps"]
            ],
        )


def memory_of(step: dict[str, Any]) -> str:
    """Before, at most and after; unknown for a node on another machine."""
    names = ("rss_before_mb", "rss_most_mb", "rss_after_mb")
    return " > ".join(f"{step[name]:.0f}" for name in names) if names[0] in step else "unknown"
