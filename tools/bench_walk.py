"""``mixline bench walk``: steps of random walks over Gowalla's graph, and requests of them, against NumPy's."""

from __future__ import annotations

import time
from typing import Any

import click
import numpy as np

from mixline.kernels.accumulate import Scratch
from mixline.kernels.walk import Walk
from mixline.node.components.sources.walk_source import KEY_STRIDE, WORD, budgets_of
from mixline.tools.bench import report
from mixline.tools.bench_forest import medians
from mixline.tools.bench_gowalla import data_folder

Sides = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def gowalla_graph() -> Sides:
    """Items' users and users' items of the training split."""
    path = data_folder() / "gowalla" / "gowalla.npz"
    if not path.exists():
        raise click.UsageError(f"{path} is absent: set MIXLINE_DATA to the folder that holds gowalla/gowalla.npz")
    split = np.load(path, allow_pickle=False)
    user_ends, items = split["train_indptr"].astype(np.int64), split["train_indices"].astype(np.uint32)
    owner = np.repeat(np.arange(len(user_ends) - 1, dtype=np.uint32), np.diff(user_ends))
    order = np.argsort(items, kind="stable")
    count = int(split["train_shape"][1])
    return np.searchsorted(items[order], np.arange(count + 1)), owner[order], user_ends, items


def in_numpy(
    graph: Sides, seeds: np.ndarray, budgets: np.ndarray, restart: float, rng: np.random.Generator
) -> np.ndarray:
    """The same walks, those of all seeds side by side in arrays of 64 walkers a seed."""
    item_ends, users, user_ends, items = graph
    origin = np.repeat(seeds, 64)
    rounds = np.repeat(budgets // 64, 64)
    at, visited, owners = origin.copy(), [], []
    for turn in range(int(rounds.max())):
        going = np.flatnonzero(rounds > turn)
        here = at[going]
        user = users[item_ends[here] + (rng.random(len(going)) * (item_ends[here + 1] - item_ends[here])).astype(int)]
        degree = user_ends[user.astype(int) + 1] - user_ends[user]
        found = items[user_ends[user] + (rng.random(len(going)) * degree).astype(int)].astype(np.int64)
        visited.append(found)
        owners.append(going // 64)
        at[going] = np.where(rng.random(len(going)) < restart, origin[going], found)
    pair = np.concatenate(owners) * (len(item_ends) - 1) + np.concatenate(visited)
    both, counts = np.unique(pair, return_counts=True)
    return np.bincount(both % (len(item_ends) - 1), weights=np.sqrt(counts)) ** 2


@click.command()
@click.option("--seeds", "many", default=20, show_default=True)
@click.option("--steps", default=50_000, show_default=True)
@click.option("--rounds", default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def walk(many: int, steps: int, rounds: int, as_json: bool) -> None:
    """One thread. A request walks from the newest items of a random user, as the source ``walk`` does."""
    graph = gowalla_graph()
    item_ends, _, user_ends, items = graph
    rng = np.random.default_rng(7)
    users = rng.permutation(np.flatnonzero(np.diff(user_ends) >= many))[: 4 * rounds]
    most = int(np.diff(item_ends).max())
    scratch = Scratch()
    made: list[int] = []

    def of(user: int) -> tuple[np.ndarray, np.ndarray]:
        seeds = items[user_ends[user] : user_ends[user] + many].astype(np.int64)
        return seeds, budgets_of(np.diff(item_ends)[seeds], most, steps)

    def ours(user: int, restart: float, stop_items: int) -> np.ndarray:
        seeds, budgets = of(user)
        one = Walk(*graph, scratch, steps_max=int(budgets.max()), restart=restart, stop_items=stop_items, stop_visits=4)
        for at, (seed, budget) in enumerate(zip(seeds.tolist(), budgets.tolist(), strict=True)):
            one.begin(seed, budget, user + at * KEY_STRIDE & WORD)
            one.advance(budget)
        made.append(one.steps)
        return one.result()[0]

    spent: list[float] = []
    for user in users.tolist():
        started = time.perf_counter()
        ours(user, 0.5, 0)
        spent.append(time.perf_counter() - started)
    speed = sum(made[1:]) / sum(spent[1:])
    turn = iter(np.resize(users, 10 * (rounds + 1)).tolist())
    runs = {
        "walk": lambda: ours(next(turn), 0.5, 0),
        "walk_stopped_early": lambda: ours(next(turn), 0.5, 200),
        "walk_numpy": lambda: in_numpy(graph, *of(next(turn)), 0.5, rng),
    }
    found = medians(runs, rounds)
    figures: dict[str, Any] = {"steps_per_s": round(speed), "p99_us": round(float(np.quantile(spent[1:], 0.99)) * 1e6)}
    figures |= {f"{each}_us": round(us) for each, us in found.items()}
    figures["requests_per_s"] = round(1e6 / found["walk"])
    figures["ratio_to_numpy"] = round(found["walk_numpy"] / found["walk"], 1)
    report(figures, as_json)
