"""``mixline build``: a specification and the user's files in, a published epoch out.

The kernels are handed to the builder here, because ``storage/`` may not import ``kernels/``.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import numpy as np

if TYPE_CHECKING:
    from mixline.storage.calibration import Search
    from mixline.storage.graph_index import Graph
    from mixline.storage.kernels import BuildKernels

UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40, "KB": 10**3, "MB": 10**6}
UNITS |= {"GB": 10**9, "TB": 10**12}


def parse_bytes(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """``4GiB``, ``512 MiB``, ``100000``."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if not found or found[2].upper() not in UNITS:
        raise click.BadParameter(f"{value!r} is no size; write for example 4GiB or 512MiB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def build_kernels() -> BuildKernels:
    """All that a build needs, with their working memory bound to them."""
    from mixline.kernels.accumulate import Scratch, accumulate
    from mixline.kernels.cluster import assign
    from mixline.kernels.graph_build import link
    from mixline.kernels.ivf import ListSearch
    from mixline.kernels.scan import scan
    from mixline.kernels.topk import TopK
    from mixline.storage.kernels import BuildKernels

    scratch = Scratch()

    def product(
        indptr: np.ndarray, indices: np.ndarray, seeds: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return accumulate(indptr, indices, None, seeds, weights, scratch)

    def exact(matrix: np.ndarray, query: np.ndarray, k: int, metric: str, norms: np.ndarray) -> np.ndarray:
        best = TopK(k)
        scan(matrix, query, best, np.arange(len(matrix), dtype=np.uint64), metric=metric, norms=norms)
        return best.result()[1]

    return BuildKernels(product, exact, assign, ListSearch, link, walk)


def walk(graph: Graph, matrix: np.ndarray, metric: str, norms: np.ndarray, k: int) -> Search:
    """Searches of ``graph`` for the best ``k``, as a node makes them."""
    from mixline.kernels.graph_search import GraphSearch, rerank_count
    from mixline.kernels.scan import scan_listed
    from mixline.kernels.topk import TopK

    searcher = GraphSearch(*graph, metric=metric)
    keys = np.arange(len(matrix), dtype=np.uint64)

    def search(query: np.ndarray, width: int) -> tuple[np.ndarray, int]:
        best = TopK(k)
        rows = searcher.search(query, width, rerank_count(k))
        scan_listed(matrix, query, best, keys, rows, metric=metric, norms=norms)
        return best.result()[1], searcher.scored

    return search


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--out", "store", required=True, type=click.Path(path_type=Path, file_okay=False), help="The store.")
@click.option("--memory", default="4GiB", callback=parse_bytes, show_default=True, help="Limit for learning spaces.")
@click.option("--no-activate", is_flag=True, help="Publish the epoch and leave the active one as it is.")
@click.option("--live-seq", default=0, help="The files contain what was applied live up to this number.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and no progress.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def build(spec: Path, store: Path, memory: int, no_activate: bool, live_seq: int, as_json: bool, quiet: bool) -> None:
    """Build an epoch from SPEC (TOML) and the files it names, publish it in STORE and activate it."""
    from mixline.storage.progress import Silence
    from mixline.storage.spec import read_spec
    from mixline.tools.progress import progress_on_stderr

    parsed = read_spec(spec)
    from mixline.storage.builder import Builder

    started_s = time.monotonic()
    shown = None if quiet or as_json else progress_on_stderr()
    try:
        builder = Builder(parsed, store, build_kernels(), memory, shown or Silence())
        manifest = builder.build(activate=not no_activate, live_seq=live_seq)
    finally:
        if shown is not None:
            shown.close()
    facts = {
        "store": str(store),
        "epoch": manifest.number,
        "active": not no_activate,
        "items": manifest.items.count,
        "users": manifest.users.count,
        "events": manifest.events.count if manifest.events else 0,
        "skipped_events": manifest.events.skipped if manifest.events else 0,
        "spaces": {name: space.dim for name, space in manifest.spaces.items()},
        "bytes": sum(one.bytes for one in manifest.files.values()),
        "seconds": round(time.monotonic() - started_s, 2),
    }
    if as_json:
        click.echo(msgspec.json.encode(facts).decode())
    elif not quiet:
        click.echo(
            f"epoch {facts['epoch']} of {store}: {facts['items']:,} items, {facts['users']:,} users, "
            f"{facts['events']:,} events ({facts['skipped_events']:,} skipped), {facts['bytes']:,} bytes, "
            f"{facts['seconds']} s" + (", not activated" if no_activate else "")
        )
