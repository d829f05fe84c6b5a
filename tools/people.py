"""Files of users and of what they acted on, as the batch commands read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.storage.catalogue import NO_ROW
from mixline.storage.epoch import Epoch


def read_columns(path: Path, names: list[str]) -> dict[str, list[Any]]:
    """Columns of a Parquet, CSV or JSON-lines file; a click error names what is wrong with it."""
    from mixline.storage.complaints import Complaints
    from mixline.storage.inputs import Input

    complaints = Complaints()
    found: dict[str, list[Any]] = {name: [] for name in names}
    for batch in Input(path, "file", {name: name for name in names}, complaints).batches():
        for name in names:
            found[name] += batch.columns[name].to_pylist()
    if complaints:
        raise click.ClickException("\n  ".join(complaints.lines()))
    return found


def ids_of(epoch: Epoch, catalogue: str, values: list[Any]) -> list[int | str]:
    """Values of a file as external ids of the store: text of digits is a number where ids are numbers."""
    kind = (epoch.items if catalogue == "items" else epoch.users).id_kind
    if kind == "str":
        return [str(value) for value in values]
    found: list[int | str] = []
    for at, value in enumerate(values):
        try:
            found.append(int(value))
        except (TypeError, ValueError):
            raise click.ClickException(
                f"row {at + 1}: {value!r} is no id; {catalogue} of this store have numbers"
            ) from None
    return found


def truths(
    epoch: Epoch, users: list[int | str], items: list[int | str]
) -> tuple[list[int | str], list[np.ndarray], int]:
    """Users in the order of their first row, for each the distinct item rows (int64) of the test, and how many pairs
    name items that the store lacks: nobody could have found these, they have numbers below 0 and count as missed."""
    wanted: dict[int | str, list[int]] = {}
    rows = epoch.items.rows_of(items).astype(np.int64)
    lost = np.flatnonzero(rows == NO_ROW)
    numbers = {one: -1 - at for at, one in enumerate(dict.fromkeys(items[place] for place in lost.tolist()))}
    rows[lost] = [numbers[items[place]] for place in lost.tolist()]
    for at, user in enumerate(users):
        wanted.setdefault(user, []).append(at)
    return list(wanted), [np.unique(rows[places]) for places in wanted.values()], len(lost)
