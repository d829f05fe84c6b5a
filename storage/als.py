"""Vectors learnt from the events by alternating least squares (Hu, Koren, Volinsky 2008), through ``implicit``.

The only step whose memory grows with the events, since the library wants the matrix and its transpose in memory; so the
need is computed first and refused above the caller's limit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixline.storage.arrays import map_array
from mixline.storage.errors import ExtraMissing, MemoryRefused
from mixline.storage.progress import Progress
from mixline.storage.spec import SpaceSpec


def need_bytes(pairs: int, users: int, items: int, dim: int) -> int:
    """The matrix, its transpose and one temporary at 8 bytes a pair; factors and one copy of them."""
    return 24 * pairs + 16 * (users + items) + 2 * 4 * dim * (users + items) + 8 * dim * dim


def learn(
    name: str,
    spec: SpaceSpec,
    graph: Path,
    scratch: Path,
    users: int,
    items: int,
    memory_bytes: int,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """(item factors, user factors), float32. Same input and seed give the same factors on one machine and BLAS."""
    indptr, rows = map_array(graph / "seen_indptr.npy"), map_array(graph / "seen_rows.npy")
    dim = spec.dim or 64
    need = need_bytes(len(rows), users, items, dim)
    if need > memory_bytes:
        raise MemoryRefused(
            f"spaces.{name}: ALS needs {need:,} bytes for {len(rows):,} user-item pairs and {users + items:,} rows of "
            f"{dim}; the limit is {memory_bytes:,}; raise --memory, lower dim, or give the matrices"
        )
    try:
        from implicit.als import AlternatingLeastSquares
        from scipy.sparse import csr_matrix
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ExtraMissing("implicit", "als", f'spaces.{name}: learn = "als"') from error
    weights = np.array(map_array(scratch / "seen_weights.npy"))
    matrix = csr_matrix((weights, rows.astype(np.int32), indptr), shape=(users, items))
    # One BLAS thread: implicit makes its own threads over rows, whose order does not change any row's result.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=dim,
            regularization=spec.regularization,
            alpha=spec.alpha,
            iterations=spec.iterations,
            random_state=spec.seed,
            use_gpu=False,
        )
        progress.phase(f"learning {name}", spec.iterations)
        model.fit(matrix, show_progress=False, callback=lambda *_: progress.advance(1))
    return np.asarray(model.item_factors, dtype=np.float32), np.asarray(model.user_factors, dtype=np.float32)
