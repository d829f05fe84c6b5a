"""``mixline check``: read a node file and its surfaces, against a store if one is given, and say all that is wrong."""

from __future__ import annotations

import click
import msgspec

from mixline.node.config import load_node_config
from mixline.node.errors import ConfigError
from mixline.node.misfits import misfits
from mixline.storage.store import Store


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@click.option("--store", type=click.Path(exists=True, file_okay=False), help="Also check columns and spaces.")
@click.option("--json", "as_json", is_flag=True, help="Print {surfaces, problems} as JSON.")
def check(config: str, store: str | None, as_json: bool) -> None:
    """Check NODE.toml and its surfaces; exit 78 when something is wrong."""
    problems: list[str] = []
    names: list[str] = []
    try:
        loaded = load_node_config(config)
        names = list(loaded.surfaces)
        if store is not None:
            with Store(store).open() as epoch:
                problems = [problem for surface in loaded.surfaces.values() for problem in misfits(surface, epoch)]
    except ConfigError as error:
        problems = error.problems
    if as_json:
        click.echo(msgspec.json.encode({"surfaces": names, "problems": problems}).decode())
    else:
        for problem in problems:
            click.echo(problem, err=True)
        if not problems:
            click.echo(f"{config}: {len(names)} surfaces are sound: {', '.join(names)}")
    if problems:
        raise SystemExit(ConfigError.exit_code)
