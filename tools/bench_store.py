"""A store of a given size for the benchmarks that need one: random vectors, made once and kept in a cache folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

SPEC = """
[items]
path = "items.csv"
id = "id"
columns = { year = "f32" }
[users]
path = "users.csv"
id = "id"
[spaces.taste]
items = "items.npy"
users = "users.npy"
metric = "dot"
"""
DIM = 128
LAYOUT = "2"  # changes when what a build writes does


def cache_folder() -> Path:
    """Where benchmarks keep what is dear to make: ``MIXLINE_BENCH_CACHE`` or ~/.cache/mixline."""
    return Path(os.environ.get("MIXLINE_BENCH_CACHE", Path.home() / ".cache" / "mixline"))


def sized_store(megabytes: int) -> Path:
    """A store whose item matrix has ``megabytes``; built by ``mixline build`` on first use."""
    folder = cache_folder() / f"store-{megabytes}mb-{LAYOUT}"
    store = folder / "store"
    if (store / "CURRENT").exists():
        return store
    folder.mkdir(parents=True, exist_ok=True)
    count, users = megabytes * 1_000_000 // (4 * DIM), 1000
    rng = np.random.default_rng(7)
    np.save(folder / "items.npy", rng.standard_normal((count, DIM), dtype=np.float32))
    np.save(folder / "users.npy", rng.standard_normal((users, DIM), dtype=np.float32))
    years = rng.integers(1950, 2020, count)
    with open(folder / "items.csv", "w") as file:
        file.write("id,year\n")
        file.writelines(f"{at},{year}\n" for at, year in enumerate(years.tolist()))
    (folder / "users.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(users)))
    (folder / "spec.toml").write_text(SPEC)
    command = [sys.executable, "-m", "mixline.tools", "build", str(folder / "spec.toml"), "--out", str(store)]
    subprocess.run([*command, "--quiet"], check=True)
    return store
