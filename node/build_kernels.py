"""The compiled kernels of a build with their working memory, since ``storage/`` may not import ``kernels/``."""

from __future__ import annotations

import numpy as np

from mixline.kernels.accumulate import Scratch, accumulate
from mixline.kernels.cluster import assign
from mixline.kernels.graph_build import link
from mixline.kernels.graph_search import GraphSearch, rerank_count
from mixline.kernels.ivf import ListSearch
from mixline.kernels.scan import scan, scan_listed
from mixline.kernels.topk import TopK
from mixline.storage.calibration import Search
from mixline.storage.graph_index import Graph
from mixline.storage.kernels import BuildKernels


def build_kernels() -> BuildKernels:
    """All that a build needs."""
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
    searcher = GraphSearch(*graph, metric=metric)
    keys = np.arange(len(matrix), dtype=np.uint64)

    def search(query: np.ndarray, width: int) -> tuple[np.ndarray, int]:
        best = TopK(k)
        rows = searcher.search(query, width, rerank_count(k))
        scan_listed(matrix, query, best, keys, rows, metric=metric, norms=norms)
        return best.result()[1], searcher.scored

    return search
