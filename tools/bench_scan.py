"""``mixline bench scan``: exact scans beside faiss, ScaNN and NumPy, one thread, one query or many in one call.

``mixline`` goes over the int8 codes and takes a second look on float32 rows; ``mixline_float`` over the float32 rows.
Both give the same rows and bits. ``mixline_int4`` goes over int4 codes, which prove nothing; recall stands beside
it. Many queries share a pass over the codes; the float32 scan takes one after the other.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import click
import numpy as np

from mixline.kernels import isa
from mixline.kernels.scan import scan, scan_listed
from mixline.kernels.shortlist import TOGETHER_MAX, Shortlist, scan_together
from mixline.kernels.topk import TopK
from mixline.storage.codes import Codes, encode
from mixline.storage.nibbles import Nibbles, encode_nibbles
from mixline.tools.bench import report

Search = Callable[[np.ndarray], np.ndarray]  # (batch, dim) queries to (batch, k) rows


NIBBLES_KEPT = 5  # times k: what a scan of int4 codes leaves for the second look


def encode_in_parts(matrix: np.ndarray, rows: int = 160_000) -> tuple[Codes, Nibbles]:
    """As a build does, in bounded memory."""
    parts = [matrix[at : at + rows] for at in range(0, len(matrix), rows)]
    codes, nibbles = [encode(part, "dot") for part in parts], [encode_nibbles(part, "dot") for part in parts]
    return Codes(*map(np.concatenate, zip(*codes, strict=True))), Nibbles(
        *map(np.concatenate, zip(*nibbles, strict=True))
    )


def contenders(matrix: np.ndarray, k: int, batch: int, widths: list[float]) -> dict[str, Search]:
    """Name to a function from queries to the rows of the best ``k`` of each; ``widths`` gets rows kept over k."""
    keys = np.arange(len(matrix), dtype=np.uint64)

    def one_by_one(queries: np.ndarray) -> np.ndarray:
        found = []
        slice_rows = max(1, (8 << 20) // (4 * matrix.shape[1]))  # as the nearest source slices it
        for query in queries:
            best = TopK(k)
            for start in range(0, len(matrix), slice_rows):
                scan(matrix, query, best, keys, start=start, stop=min(start + slice_rows, len(matrix)))
            found.append(best.result()[0])
        return np.stack(found)

    codes, nibbles = encode_in_parts(matrix)

    def two_stage(queries: np.ndarray) -> np.ndarray:
        shortlists = [Shortlist(query, k) for query in queries]
        scan_together(shortlists, *codes, len(matrix))
        return second_look(queries, shortlists)

    def two_stage_int4(queries: np.ndarray) -> np.ndarray:
        shortlists = [Shortlist(query, k, keep=NIBBLES_KEPT * k) for query in queries]
        scan_together(shortlists, *nibbles, None, len(matrix))
        return second_look(queries, shortlists)

    def second_look(queries: np.ndarray, shortlists: list[Shortlist]) -> np.ndarray:
        found = []
        for query, shortlist in zip(queries, shortlists, strict=True):
            rows, best = shortlist.rows(), TopK(k)
            if shortlist.certified:
                widths.append(len(rows) / k)
            scan_listed(matrix, query, best, keys, rows)
            found.append(best.result()[0])
        return np.stack(found)

    def numpy(queries: np.ndarray) -> np.ndarray:
        scores = queries @ matrix.T
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        return np.take_along_axis(best, order, axis=1)

    found: dict[str, Search] = {"mixline": two_stage, "mixline_int4": two_stage_int4, "mixline_float": one_by_one}
    found["numpy"] = numpy
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        flat = faiss.IndexFlatIP(matrix.shape[1])
        flat.add(matrix)
        found["faiss_flat"] = lambda queries: flat.search(queries, k)[1]
    if importlib.util.find_spec("scann"):
        import scann

        brute = scann.scann_ops_pybind.builder(matrix, k, "dot_product").set_n_training_threads(1)
        searcher = brute.score_brute_force().build()
        if batch == 1:
            found["scann_brute"] = lambda queries: searcher.search(queries[0])[0][None, :]
        else:
            found["scann_brute"] = lambda queries: searcher.search_batched(queries)[0]
    return found


def one_thread() -> Any:
    """BLAS on one core, where threadpoolctl is at hand; faiss and ScaNN are told so themselves."""
    if not importlib.util.find_spec("threadpoolctl"):
        return nullcontext()
    import threadpoolctl

    return threadpoolctl.threadpool_limits(1)


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--dim", default=128, show_default=True)
@click.option("--k", default=100, show_default=True)
@click.option(
    "--batch", default=1, show_default=True, type=click.IntRange(1, TOGETHER_MAX), help="Queries in one call."
)
@click.option("--rounds", default=25, show_default=True, help="Calls per contender, taken in turn.")
@click.option("--json", "as_json", is_flag=True)
def scan_command(rows: int, dim: int, k: int, batch: int, rounds: int, as_json: bool) -> None:
    """Exact top-k over a float32 matrix; milliseconds are for each query."""
    rng = np.random.default_rng(7)
    matrix = rng.standard_normal((rows, dim), dtype=np.float32)
    widths: list[float] = []
    searches = contenders(matrix, k, batch, widths)
    spent: dict[str, list[float]] = {name: [] for name in searches}
    overlap: dict[str, list[float]] = {name: [] for name in searches}
    with one_thread():
        for at in range(rounds + 1):
            queries = rng.standard_normal((batch, dim), dtype=np.float32)
            truth = set(np.argsort(-(matrix @ queries[0]))[:k].tolist()) if at < 5 else None
            for name, search in searches.items():
                started = time.perf_counter()
                best = search(queries)
                elapsed = time.perf_counter() - started
                if at:  # the first round warms
                    spent[name].append(elapsed / batch)
                if truth:
                    overlap[name].append(len(truth & set(np.asarray(best[0]).tolist())) / k)
    median = {name: float(np.median(times)) for name, times in spent.items()}
    figures: dict[str, Any] = {"rows": rows, "dim": dim, "k": k, "batch": batch, "instruction_set": isa.in_use()}
    figures |= {f"{name}_ms": round(1000 * seconds, 3) for name, seconds in median.items()}
    figures |= {f"{name}_recall": float(np.mean(shares)) for name, shares in overlap.items()}
    figures["read_gb_per_s"] = round(matrix.nbytes / median["mixline_float"] / 1e9, 2)
    figures["rows_kept_per_k"] = round(float(np.mean(widths)), 2)
    figures["float_to_mixline"] = round(median["mixline_float"] / median["mixline"], 3)
    peers = {name: seconds for name, seconds in median.items() if not name.startswith("mixline")}
    figures |= {f"ratio_to_{name}": round(seconds / median["mixline"], 3) for name, seconds in peers.items()}
    figures["ratio_to_best"] = round(min(peers.values()) / median["mixline"], 3)
    figures["int4_ratio_to_best"] = round(min(peers.values()) / median["mixline_int4"], 3)
    report(figures, as_json)
