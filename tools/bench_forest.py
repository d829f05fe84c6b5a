"""``mixline bench forest``: a ranking model over the best candidates, against the libraries' own predict."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.kernels.forest import path
from mixline.node.forest_model import load_model
from mixline.tools.bench import report


def medians(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Microseconds of each, taken in turn so that all have the same machine."""
    spent: dict[str, list[float]] = {each: [] for each in runs}
    for at in range(rounds + 1):
        for each, run in runs.items():
            started = time.perf_counter()
            run()
            if at:
                spent[each].append((time.perf_counter() - started) * 1e6)
    return {each: float(np.median(times)) for each, times in spent.items()}


@click.command()
@click.option("--trees", default=500, show_default=True)
@click.option("--leaves", default=64, show_default=True)
@click.option("--features", default=40, show_default=True)
@click.option("--rows", default=500, show_default=True)
@click.option("--rounds", default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def forest(trees: int, leaves: int, features: int, rows: int, rounds: int, as_json: bool) -> None:
    """One thread each; equal to 1e-6 on every row."""
    import lightgbm

    rng = np.random.default_rng(7)
    x = rng.standard_normal((20_000, features))
    x[rng.random(x.shape) < 0.05] = np.nan
    wish = np.nansum(x[:, :8] * rng.standard_normal(8), axis=1) + np.nan_to_num(x[:, 9] * x[:, 10])
    options = {"num_leaves": leaves, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "learning_rate": 0.05}
    booster = lightgbm.train(options, lightgbm.Dataset(x, wish), trees)
    asked = rng.standard_normal((rows, features))
    columns = [np.ascontiguousarray(asked[:, at]) for at in range(features)]
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.txt")
        booster.save_model(file)
        started = time.perf_counter()
        ours = load_model(file)
        loaded_s = time.perf_counter() - started
    booster = lightgbm.Booster(model_str=booster.model_to_string())
    runs: dict[str, Callable[[], Any]] = {
        "mixline": lambda: ours.output(columns, False),
        "lightgbm": lambda: booster.predict(asked, num_threads=1),
    }
    difference = float(np.max(np.abs(runs["mixline"]() - runs["lightgbm"]())))
    assert difference <= 1e-6, difference
    found = medians(runs, rounds)
    figures: dict[str, Any] = {f"{each}_us": round(us, 1) for each, us in found.items()}
    figures["ratio_to_lightgbm"] = round(found["lightgbm"] / found["mixline"], 2)
    figures["greatest_difference"] = difference
    figures["load_ms"] = round(loaded_s * 1e3, 1)
    figures["path"] = path()
    report(figures, as_json)
