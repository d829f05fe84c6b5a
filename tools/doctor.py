"""``mixline doctor``: what on this machine costs requests their time, and the command that mends each of it.

Needs no right, changes nothing, and never fails for a file that a kernel does not have: a check that cannot look says
so. Each module of checks has a table ``CHECKS``; the order below is the order of the report.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from mixline.tools import (
    doctor_clock,
    doctor_cpu,
    doctor_limits,
    doctor_memory,
    doctor_node,
    doctor_scanners,
    doctor_store,
    doctor_versions,
)
from mixline.tools.cli import EX_UNAVAILABLE
from mixline.tools.doctor_finding import STATES, Case, Finding, look
from mixline.tools.doctor_machine import Machine
from mixline.tools.tables import show_table

PARTS = (
    doctor_limits,
    doctor_memory,
    doctor_scanners,
    doctor_cpu,
    doctor_clock,
    doctor_versions,
    doctor_store,
    doctor_node,
)
FILES_SHOWN = 8


def examine(case: Case) -> list[Finding]:
    """Every check, in the order of the report; those of a store only when there is one."""
    found: list[Finding] = []
    for part in PARTS:
        if part is doctor_store and case.store is None:
            found.append(Finding("store", "note", "not looked at", "", "mixline doctor --store STORE"))
            continue
        for name, check in part.CHECKS:
            found += look(name, check, case)
    return found


def count_states(found: list[Finding]) -> dict[str, int]:
    return {state: sum(each.state == state for each in found) for state in STATES}


def show(found: list[Finding]) -> None:
    """On a terminal a table, and a paragraph for all that is not well; in a pipe one line of five fields each."""
    if not sys.stdout.isatty():
        lines = [(each.state, each.name, each.found, each.costs, each.mend) for each in found]
        show_table("doctor", ("state", "check", "found", "costs", "mend"), lines)
        return
    show_table("doctor", ("state", "check", "found"), [(each.state, each.name, each.found) for each in found])
    for each in sorted(found, key=lambda each: -STATES.index(each.state)):
        if each.costs or each.mend:
            click.secho(f"\n{each.state}  {each.name}", bold=True)
            for label, text in (("found", each.found), ("costs", each.costs), ("mend", each.mend)):
                click.echo(f"  {label + ':':7}{text}")
    for each in found:
        if each.details:
            click.echo("")
            rows = [(one["file"], one["bytes"], f"{one['resident']:.1%}") for one in each.details[:FILES_SHOWN]]
            show_table(f"{each.name}, coldest first", ("file", "bytes", "resident"), rows)


@click.command()
@click.option("--store", type=click.Path(file_okay=False), help="Also examine this store.")
@click.option("--endpoint", help="Also ask the node that answers there.")
@click.option("--workers", type=click.IntRange(1, 511), help="Workers of the node meant (default: cores less one).")
@click.option("--clients", default=1000, show_default=True, type=click.IntRange(0), help="Connections to expect.")
@click.option("--sample", "sample_s", default=0.5, show_default=True, help="Seconds of the steal-time sample.")
@click.option("--root", default="/", hidden=True, type=click.Path(exists=True, file_okay=False), help="For tests.")
@click.option("--json", "as_json", is_flag=True, help="Print {states, findings} as JSON.")
def doctor(
    store: str | None,
    endpoint: str | None,
    workers: int | None,
    clients: int,
    sample_s: float,
    root: str,
    as_json: bool,
) -> None:
    """Examine this machine, and a store and a running node if given; exit code 69 when something is bad."""
    machine = Machine(Path(root), os.environ)
    path = Path(store) if store else None
    case = Case(machine, workers or max(1, machine.cores() - 1), clients, path, endpoint, sample_s)
    found = examine(case)
    states = count_states(found)
    if as_json:
        click.echo(msgspec.json.encode({"states": states, "findings": found}).decode())
    else:
        show(found)
        click.echo(", ".join(f"{count} {state}" for state, count in states.items()), err=True)
    if states["bad"]:
        raise SystemExit(EX_UNAVAILABLE)
