"""``mixline bench scan``: the exact scans beside faiss, ScaNN and NumPy, one thread, one query at a time.

``mixline`` goes over the int8 codes and takes a second look on float32 rows; ``mixline_float`` over the float32 rows.
Both give the same rows and bits.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from mixline.kernels.scan import instruction_set, scan, scan_listed
from mixline.kernels.shortlist import Shortlist
from mixline.kernels.topk import TopK
from mixline.storage.codes import Codes, encode
from mixline.tools.bench import report

Search = Callable[[np.ndarray], np.ndarray]


def encode_in_parts(matrix: np.ndarray, rows: int = 160_000) -> Codes:
    """As a build does, in bounded memory."""
    parts = [encode(matrix[at : at + rows], "dot") for at in range(0, len(matrix), rows)]
    return Codes(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def contenders(matrix: np.ndarray, k: int, widths: list[float]) -> dict[str, Search]:
    """Name to a function from a query to the rows of its best ``k``; ``widths`` gets rows kept over k of each query."""
    keys = np.arange(len(matrix), dtype=np.uint64)

    def ours(query: np.ndarray) -> np.ndarray:
        heap = TopK(k)
        slice_rows = max(1, (8 << 20) // (4 * matrix.shape[1]))  # as the nearest source slices it
        for start in range(0, len(matrix), slice_rows):
            scan(matrix, query, heap, keys, start=start, stop=min(start + slice_rows, len(matrix)))
        return heap.result()[0]

    codes = encode_in_parts(matrix)

    def two_stage(query: np.ndarray) -> np.ndarray:
        shortlist, best = Shortlist(query, k), TopK(k)
        shortlist.scan(*codes, len(matrix))
        widths.append(len(shortlist.rows()) / k)
        scan_listed(matrix, query, best, keys, shortlist.rows())
        return best.result()[0]

    def numpy(query: np.ndarray) -> np.ndarray:
        scores = matrix @ query
        best = np.argpartition(scores, -k)[-k:]
        return best[np.argsort(-scores[best], kind="stable")]

    found: dict[str, Search] = {"mixline": two_stage, "mixline_float": ours, "numpy": numpy}
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        flat = faiss.IndexFlatIP(matrix.shape[1])
        flat.add(matrix)
        found["faiss_flat"] = lambda query: flat.search(query[None, :], k)[1][0]
    if importlib.util.find_spec("scann"):
        import scann

        brute = scann.scann_ops_pybind.builder(matrix, k, "dot_product").set_n_training_threads(1)
        searcher = brute.score_brute_force().build()
        found["scann_brute"] = lambda query: searcher.search(query)[0]
    return found


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--dim", default=128, show_default=True)
@click.option("--k", default=100, show_default=True)
@click.option("--rounds", default=25, show_default=True, help="Queries per contender, taken in turn.")
@click.option("--json", "as_json", is_flag=True)
def scan_command(rows: int, dim: int, k: int, rounds: int, as_json: bool) -> None:
    """Exact top-k of one query over a float32 matrix."""
    rng = np.random.default_rng(7)
    matrix = rng.standard_normal((rows, dim), dtype=np.float32)
    queries = rng.standard_normal((rounds + 1, dim), dtype=np.float32)
    widths: list[float] = []
    searches = contenders(matrix, k, widths)
    spent: dict[str, list[float]] = {name: [] for name in searches}
    overlap: dict[str, list[float]] = {name: [] for name in searches}
    for at, query in enumerate(queries):
        truth = set(np.argsort(-(matrix @ query))[:k].tolist()) if at < 5 else None
        for name, search in searches.items():
            started = time.perf_counter()
            best = search(query)
            elapsed = time.perf_counter() - started
            if at:  # the first round warms
                spent[name].append(elapsed)
            if truth:
                overlap[name].append(len(truth & set(np.asarray(best).tolist())) / k)
    median = {name: float(np.median(times)) for name, times in spent.items()}
    figures: dict[str, Any] = {"rows": rows, "dim": dim, "k": k, "instruction_set": instruction_set()}
    figures |= {f"{name}_ms": round(1000 * seconds, 3) for name, seconds in median.items()}
    figures |= {f"{name}_recall": float(np.mean(shares)) for name, shares in overlap.items()}
    figures["read_gb_per_s"] = round(matrix.nbytes / median["mixline_float"] / 1e9, 2)
    figures["rows_kept_per_k"] = round(float(np.mean(widths)), 2)
    peers = {name: seconds for name, seconds in median.items() if not name.startswith("mixline")}
    figures |= {f"ratio_to_{name}": round(seconds / median["mixline"], 3) for name, seconds in peers.items()}
    figures["ratio_to_best"] = round(min(peers.values()) / median["mixline"], 3)
    report(figures, as_json)
