"""Closed-form recommenders as two matrices: a user's vector times an item's is the score, so each is a space."""

from __future__ import annotations

from typing import Any

import numpy as np

OVERSAMPLE = 20


def ease(acted: np.ndarray, regularization: float) -> tuple[np.ndarray, np.ndarray]:
    """EASE^R (Steck, WWW 2019): vectors of users (n, items) and items (items, items), float32.

    ``acted`` (users, items), 1 where a user acted. ``B = I - P / diag(P)`` with ``P = (X'X + l I)^-1`` is the item-item
    matrix that predicts X best without looking at an item itself; a user's vector is the row of X.
    """
    x = acted.astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + regularization * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return acted.astype(np.float32), np.ascontiguousarray(weights.T, dtype=np.float32)


def graph_filter(
    matrix: Any, dim: int, ideal: int, weight: float, iterations: int = 4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """GF-CF (Shen et al., CIKM 2021) with its linear filter cut off after ``dim`` singular vectors: vectors of users
    and of items, (n, dim + ideal) float32.

    ``matrix`` is a sparse (users, items) of 1 where a user acted. With the normalised N = D_u^-1/2 R D_i^-1/2 the score
    is R (N'N + weight D_i^-1/2 V V' D_i^1/2), V the first ``ideal`` right singular vectors of N; N'N is V S^2 V'. The
    singular vectors come by subspace iteration (Halko, Martinsson and Tropp 2011).
    """
    import scipy.sparse as sparse

    matrix = sparse.csr_matrix(matrix, dtype=np.float32)
    of_users = 1 / np.sqrt(np.maximum(np.asarray(matrix.sum(1)).ravel(), 1))
    of_items = 1 / np.sqrt(np.maximum(np.asarray(matrix.sum(0)).ravel(), 1))
    normal = sparse.csr_matrix(sparse.diags(of_users) @ matrix @ sparse.diags(of_items), dtype=np.float32)
    turned = sparse.csr_matrix(normal.T)
    basis = np.random.default_rng(seed).standard_normal((matrix.shape[1], dim + OVERSAMPLE)).astype(np.float32)
    for _ in range(iterations):
        basis, _ = np.linalg.qr(turned @ (normal @ basis))
    _, values, right = np.linalg.svd(normal @ basis, full_matrices=False)
    vectors = (basis @ right.T)[:, :dim]
    first = vectors[:, :ideal]
    users = [matrix @ vectors, weight * (matrix @ (of_items[:, None] * first))]
    items = [vectors * values[:dim] ** 2, first / of_items[:, None]]
    return np.hstack(users).astype(np.float32), np.hstack(items).astype(np.float32)
