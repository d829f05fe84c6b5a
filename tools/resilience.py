"""``mixline bench resilience NAME``: what a node must survive, one whole trial each, with a verdict.

Every trial starts a node of its own, finds its capacity C, harms it on purpose under the compiled generator's load, and
holds what it saw against the bars of docs/load.md. Exit code 1: a bar was missed. They take minutes to hours, so
``mixline bench all`` leaves them out.
"""

from __future__ import annotations

import importlib

import click

NAMES = {
    "kills": "mixline.tools.resilience_kills:kills",
    "broker-kills": "mixline.tools.resilience_broker_kills:broker_kills",
    "hangs": "mixline.tools.resilience_hangs:hangs",
    "poison": "mixline.tools.resilience_poison:poison",
    "overload": "mixline.tools.resilience_overload:overload",
    "vanish": "mixline.tools.resilience_vanish:vanish",
    "restarts": "mixline.tools.resilience_restarts:restarts",
    "soak": "mixline.tools.resilience_soak:soak",
    "sigterm": "mixline.tools.resilience_sigterm:sigterm",
    "zmtp": "mixline.tools.resilience_zmtp:zmtp",
}


class Trials(click.Group):
    """The trials by name, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in NAMES:
            return None
        module, attribute = NAMES[cmd_name].split(":")
        return getattr(importlib.import_module(module), attribute)


@click.group(cls=Trials)
def resilience() -> None:
    """Harm a node of its own and hold it to its bars."""
