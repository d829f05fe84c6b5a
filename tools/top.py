"""``mixline top``: a running node, live in the terminal, read from its shared memory without asking it anything."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import click
import msgspec

from mixline.node.readings import Snapshot
from mixline.tools.top_picture import draw_picture
from mixline.tools.top_source import NotReadable, Source
from mixline.tools.top_view import draw, text_lines


class Watch:
    """Takes a snapshot now and then, and shows the growth over the last ``window`` of them."""

    def __init__(self, endpoint: str, window: int) -> None:
        self.endpoint = endpoint
        self.source: Source | None = Source(endpoint)
        self.snapshots: deque[Snapshot] = deque([self.source.read()], maxlen=window + 1)

    def look(self) -> dict[str, Any] | str:
        """The picture, or a word on why there is none. A node that was started again is found again."""
        try:
            if self.source is None or self.source.gone:
                self.source = None
                self.snapshots.clear()
                self.source = Source(self.endpoint)
            self.snapshots.append(self.source.read())
            if len(self.snapshots) < 2:
                return "a node has come"
            return draw_picture(self.snapshots[0], self.snapshots[-1], self.source.info, self.source.uptime_s())
        except NotReadable as error:
            return f"the node is gone: {error}"
        except FileNotFoundError:  # /proc/PID, between two looks
            return "the node is gone"


@click.command()
@click.option("--endpoint", default="tcp://127.0.0.1:5571", show_default=True, help="Where the node listens.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Between two looks.")
@click.option("--window", type=click.IntRange(1, 600), default=5, show_default=True, help="Looks that figures span.")
@click.option("--once", is_flag=True, help="One picture over --seconds, then end.")
@click.option("--json", "as_json", is_flag=True, help="Print each picture as a JSON object on a line.")
def top(endpoint: str, seconds: float, window: int, once: bool, as_json: bool) -> None:
    """Show what a node on this machine does: surfaces, components, broker, workers."""
    watch = Watch(endpoint, 1 if once else window)
    if once:
        time.sleep(seconds)
        picture = watch.look()
        if isinstance(picture, str):
            raise NotReadable(picture)
        show_lines(picture, as_json)
    elif as_json or not sys.stdout.isatty() or not show_live(watch, seconds):
        go_on(watch, seconds, lambda picture: show_lines(picture, as_json))


def show_lines(picture: dict[str, Any] | str, as_json: bool) -> None:
    """On stdout, or a word on stderr."""
    if isinstance(picture, str):
        click.echo(picture, err=True)
    elif as_json:
        click.echo(msgspec.json.encode(picture).decode())
    else:
        click.echo("\n".join(text_lines(picture)) + "\n")


def go_on(watch: Watch, seconds: float, show: Callable[[dict[str, Any] | str], None]) -> None:
    """Look at regular moments until Ctrl-C, even when that comes where something swallows it, as a close may."""
    leaving: list[int] = []

    def leave(number: int, _frame: object) -> None:
        leaving.append(number)
        raise KeyboardInterrupt  # ends a sleep

    due = time.monotonic()
    before = signal.signal(signal.SIGINT, leave)
    try:
        while not leaving:
            due = max(due + seconds, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            show(watch.look())
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGINT, before)


def show_live(watch: Watch, seconds: float) -> bool:
    """On the whole terminal; False where rich is not installed."""
    try:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        return False
    console = Console()
    with Live(Text("looking ..."), console=console, screen=True, auto_refresh=False) as live:

        def show(picture: dict[str, Any] | str) -> None:
            drawn = Text(picture) if isinstance(picture, str) else draw(picture, watch.endpoint, console.height)
            live.update(drawn, refresh=True)

        go_on(watch, seconds, show)
    return True
