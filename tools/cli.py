"""The ``mixline`` command: a table of verbs, each imported only when it is called.

Lazy loading keeps ``mixline ask`` from paying for pyarrow. Exit codes follow sysexits: 64 usage, 65 bad data,
78 configuration; a failure that names its own code carries it in ``exit_code``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

import click

EX_USAGE = 64
EX_DATAERR = 65
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_CONFIG = 78

VERBS = {
    "ask": "mixline.tools.ask:ask",
    "bench": "mixline.tools.bench:bench",
    "check": "mixline.tools.check:check",
    "demo": "mixline.tools.demo:demo",
    "doctor": "mixline.tools.doctor:doctor",
    "journal": "mixline.tools.journal:journal",
    "build": "mixline.tools.build:build",
    "eval": "mixline.tools.evaluate:evaluate",
    "epoch": "mixline.tools.epoch:epoch",
    "plan": "mixline.tools.plan:plan_command",
    "forget": "mixline.tools.forget:forget",
    "score": "mixline.tools.score:score",
    "replay": "mixline.tools.replay:replay_command",
    "serve": "mixline.tools.serve:serve",
    "snapshot": "mixline.tools.snapshot:snapshot",
    "systemd": "mixline.tools.systemd:systemd",
    "top": "mixline.tools.top:top",
    "why": "mixline.tools.why:why",
    "warm": "mixline.tools.warm:warm",
}
GIVES_WAY = frozenset({"snapshot"})  # what runs beside a node on its machine, and may take its time


def step_back() -> None:
    """Let whoever serves go first, from here on: importing alone takes a core for a quarter of a second."""
    with contextlib.suppress(OSError):
        os.nice(19)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class LazyGroup(click.Group):
    """A group whose commands are ``module:attribute`` strings in :data:`VERBS`, resolved on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = VERBS.get(cmd_name)
        if path is None:
            return None
        module, attribute = path.split(":")
        return getattr(importlib.import_module(module), attribute)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mixline", prog_name="mixline")
def command() -> None:
    """mixline: a recommendation and search serving node on one box."""


def main() -> None:
    """Console entry: run the command, translate failures into one clear line and a sysexits code."""
    if GIVES_WAY.intersection(sys.argv[1:2]):
        step_back()
    try:
        command.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(EX_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        click.echo(f"mixline: {error}", err=True)
        sys.exit(code)
