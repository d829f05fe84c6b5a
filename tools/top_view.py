"""The picture of ``mixline top`` as rows of text: tables for rich, or lines for pipes. Colours mark what to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mixline.tools.top_picture import BROKER_RATES, BROKER_TOTALS, busiest

if TYPE_CHECKING:
    from rich.console import RenderableType

SILENT_S = 1.0  # ten ticks of the broker
ALWAYS = ("requests", "shed", "hedged", "redispatched", "lent")  # shown when they are 0, too
LINES_AROUND = 15  # of the screen, that are not rows of components or surfaces


class Column(NamedTuple):
    """A heading, the key of the picture, how to write it, and whether anything above 0 is marked."""

    heading: str
    key: str
    how: str = "rate"
    marked: bool = False


SURFACE_COLUMNS = (
    Column("surface", "surface", "text"),
    Column("req/s", "per_s"),
    Column("answered", "answered_per_s"),
    Column("degraded", "degraded_per_s", marked=True),
    Column("errors", "errors_per_s", marked=True),
    Column("overload", "overloaded_per_s", marked=True),
    Column("timeout", "timeouts_per_s", marked=True),
    Column("p50 ms", "p50_ms", "time"),
    Column("p99 ms", "p99_ms", "time"),
    Column("p99.9 ms", "p999_ms", "time"),
    Column("queue p99", "queue_p99_ms", "time"),
)
COMPONENT_COLUMNS = (
    Column("surface", "surface", "text"),
    Column("stage", "stage", "text"),
    Column("component", "component", "text"),
    Column("runs/s", "runs_per_s"),
    Column("not ok", "not_ok", "share", marked=True),
    Column("p50 us", "p50_us", "time"),
    Column("p99 us", "p99_us", "time"),
    Column("cores", "cores", "cores"),
    Column("taken", "taken", "time"),
    Column("left", "left", "time"),
)
WORKER_COLUMNS = (
    Column("seat", "seat", "text"),
    Column("state", "state", "text"),
    Column("epoch", "epoch", "text"),
    Column("asks/s", "asks_per_s"),
    Column("echoes/s", "echoes_per_s"),
    Column("errors/s", "errors_per_s", marked=True),
    Column("busy", "busy", "share"),
)


def write_number(value: Any, how: str) -> str:
    """Three digits are enough to look at; nothing to say is a dash."""
    if value is None:
        return "-"
    if how == "text":
        return str(value)
    if how == "share":
        return "0" if not value else f"{100 * value:.1f}%" if value >= 0.001 else "<.1%"
    if how == "cores":
        return f"{value:.2f}"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write_uptime(seconds: float) -> str:
    """In the two units that matter."""
    whole = int(seconds)
    for unit, length, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length}{unit}{whole % length // part:02d}{below}"
    return f"{whole}s"


def node_line(picture: dict[str, Any]) -> str:
    """Who the node is."""
    node = picture["node"]
    workers = ", ".join(f"{many} {state}" for state, many in sorted(node["workers"].items()))
    line = (
        f"epoch {node['epoch']}  life {node['life']}  {node['transport'] or '-'}  workers: {workers}  "
        f"up {write_uptime(node['uptime_s'])}  {' '.join(node['endpoints'])}"
    )
    if node["broker_silent_s"] > SILENT_S:
        line += f"  THE BROKER HAS BEEN SILENT FOR {write_uptime(node['broker_silent_s'])}"
    return line


def broker_lines(picture: dict[str, Any]) -> list[str]:
    """What waits and flows; what was lost since the node's start."""
    broker = picture["broker"]
    kib = broker["queued_bytes"] / 1024
    rates = [(name, broker[f"{name}_per_s"]) for name in BROKER_RATES]
    return [
        f"queue {broker['queued']} ({kib:,.0f} KiB)  open {broker['open']}  per second: "
        + "  ".join(f"{say(name)} {write_number(rate, 'rate')}" for name, rate in rates if rate or name in ALWAYS),
        "since the start: " + "  ".join(f"{say(name)} {broker[name]}" for name in BROKER_TOTALS),
    ]


def writer_line(picture: dict[str, Any]) -> str | None:
    """The writer, where there is one."""
    writer = picture["writer"]
    if writer is None:
        return None
    rates = "  ".join(
        f"{write_number(writer[f'{name}_per_s'], 'rate')} {name}"
        for name in ("operations", "batches", "commits", "errors")
    )
    busy = write_number(writer["busy"], "share")
    line = f"{writer['state']}  epoch {writer['epoch']}  per second: {rates}  busy {busy}"
    if writer["reader_lag"]:
        age = write_uptime(writer["reader_age_s"])
        line += f"  oldest reader of the log: {age}, {writer['reader_lag']} commits behind"
    return line


def say(name: str) -> str:
    """A counter in people's words."""
    return "retries" if name == "redispatched" else name.replace("_", " ")


def text_lines(picture: dict[str, Any]) -> list[str]:
    """For pipes and terminals without rich: one line per subject, tab-separated words."""
    lines = ["node\t" + node_line(picture), *(f"broker\t{line}" for line in broker_lines(picture))]
    if (writes := writer_line(picture)) is not None:
        lines.append(f"writer\t{writes}")
    for what, columns in (
        ("surfaces", SURFACE_COLUMNS),
        ("components", COMPONENT_COLUMNS),
        ("workers", WORKER_COLUMNS),
    ):
        lines.append("\t".join([what[:-1], *(column.heading for column in columns)]))
        lines += [
            "\t".join([what[:-1], *(write_number(each[column.key], column.how) for column in columns)])
            for each in picture[what]
        ]
    return lines


def draw(picture: dict[str, Any], endpoint: str, height: int) -> RenderableType:
    """For a terminal of so many lines: what does not fit are the components that take least time."""
    from rich.console import Group
    from rich.text import Text

    busy = [each for each in picture["surfaces"] if each["per_s"]]
    surfaces = busy or picture["surfaces"]
    room = max(3, height - LINES_AROUND - len(surfaces) - len(picture["workers"]))
    components, left_out = busiest((each for each in picture["components"] if each["runs_per_s"]), room)
    head = Text(f"mixline top  {endpoint}  over {picture['seconds']:.1f} s", style="bold")
    line = node_line(picture)
    parts: list[RenderableType] = [
        head,
        Text(line, style="bold red" if "SILENT" in line else ""),
        *(Text(each) for each in broker_lines(picture)),
        *([Text(f"writer {writes}")] if (writes := writer_line(picture)) is not None else []),
        table(SURFACE_COLUMNS, surfaces),
        table(COMPONENT_COLUMNS, components),
    ]
    if left_out:
        parts.append(Text(f"and {left_out} components that take less", style="dim"))
    return Group(*parts, table(WORKER_COLUMNS, picture["workers"]))


def table(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> RenderableType:
    """A table without frames, numbers to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False, show_edge=False)
    for column in columns:
        drawn.add_column(column.heading, justify="left" if column.how == "text" else "right", no_wrap=True)
    for row in rows:
        cells = []
        for column in columns:
            value = row[column.key]
            style = "bold red" if column.marked and value else "dim" if value in (None, 0) else ""
            cells.append(Text(write_number(value, column.how), style=style))
        drawn.add_row(*cells)
    return drawn
