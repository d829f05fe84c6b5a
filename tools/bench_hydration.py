"""``mixline bench hydration``: 500 rows x 16 features, gathered, read from LMDB, and gathered by bare C."""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi
import click
import lmdb
import numpy as np

from mixline.kernels.gather import gather
from mixline.tools.bench import report

FLOOR = """
void floor_gather(const float **columns, int width, const unsigned *rows, int count, float *out) {
    for (int c = 0; c < width; c++)
        for (int i = 0; i < count; i++) out[c * count + i] = columns[c][(long)rows[i] * width];
}
"""


def bare_c(folder: Path, columns: list[np.ndarray]) -> Callable[[np.ndarray], Any]:
    """The plainest loops over the same memory, with the pointers made once."""
    ffi = cffi.FFI()
    ffi.cdef("void floor_gather(const float **columns, int width, const unsigned *rows, int count, float *out);")
    ffi.set_source("mixline_floor", FLOOR, extra_compile_args=["-O3"])
    ffi.compile(tmpdir=str(folder))
    sys.path.insert(0, str(folder))
    library = importlib.import_module("mixline_floor").lib
    pointers = ffi.new("float *[]", [ffi.cast("float *", column.ctypes.data) for column in columns])

    def run(rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(columns), len(rows)), dtype=np.float32)
        library.floor_gather(
            ffi.cast("const float **", pointers),
            len(columns),
            ffi.from_buffer("unsigned[]", rows),
            len(rows),
            ffi.from_buffer("float[]", out),
        )
        return out

    return run


def from_lmdb(folder: Path, table: np.ndarray) -> Callable[[np.ndarray], Any]:
    """One record of all features per row, read with py-lmdb ``get`` and laid side by side."""
    environment = lmdb.open(str(folder / "features"), map_size=1 << 32, lock=False, sync=False)
    with environment.begin(write=True) as transaction:
        for row in range(len(table)):
            transaction.put(row.to_bytes(4, "big"), table[row].tobytes(), append=True)

    def run(rows: np.ndarray) -> np.ndarray:
        with environment.begin(buffers=True) as transaction:
            found = b"".join([transaction.get(row.to_bytes(4, "big"), b"") for row in rows.tolist()])
        return np.frombuffer(found, dtype=np.float32).reshape(len(rows), -1)

    return run


@click.command()
@click.option("--items", default=1_000_000, show_default=True)
@click.option("--rows", "count", default=500, show_default=True)
@click.option("--features", default=16, show_default=True)
@click.option("--rounds", default=200, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def hydration(items: int, count: int, features: int, rounds: int, as_json: bool) -> None:
    """Random rows of float32 feature columns."""
    rng = np.random.default_rng(7)
    table = rng.standard_normal((items, features), dtype=np.float32)
    columns = [table[:, at] for at in range(features)]  # interleaved, as an epoch keeps them
    with tempfile.TemporaryDirectory() as name:
        runs: dict[str, Callable[[np.ndarray], Any]] = {
            "mixline": lambda rows: gather(columns, rows),
            "c_floor": bare_c(Path(name), columns),
            "lmdb": from_lmdb(Path(name), table),
        }
        spent: dict[str, list[float]] = {each: [] for each in runs}
        for at in range(rounds + 1):
            for each, run in runs.items():
                rows = rng.integers(0, items, count).astype(np.uint32)
                started = time.perf_counter()
                got = run(rows)
                elapsed = time.perf_counter() - started
                if at:
                    spent[each].append(elapsed)
                else:
                    wanted = table[rows] if each == "lmdb" else table[rows].T
                    assert np.array_equal(np.asarray(got), wanted), each
    median = {each: float(np.median(times)) * 1e6 for each, times in spent.items()}
    figures: dict[str, Any] = {f"{each}_us": round(us, 2) for each, us in median.items()}
    figures["ratio_to_lmdb"] = round(median["lmdb"] / median["mixline"], 2)
    figures["times_c_floor"] = round(median["mixline"] / median["c_floor"], 2)
    report(figures, as_json)
