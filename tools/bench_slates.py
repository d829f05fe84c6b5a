"""``mixline bench slates``: a slate out of a pool by MMR, DPP and SSD, against NumPy as one would write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np

from mixline.kernels.diversity import Pool, path
from mixline.tools.bench import report
from mixline.tools.bench_forest import medians


def mmr_in_numpy(vectors: np.ndarray, relevance: np.ndarray, k: int, trade: float) -> list[int]:
    """All similarities at once, then the greatest with what was taken."""
    similar = vectors @ vectors.T
    taken = [int(relevance.argmax())]
    left = np.delete(np.arange(len(vectors)), taken[0])
    while len(taken) < k:
        value = trade * relevance[left] - (1 - trade) * similar[np.ix_(left, np.array(taken))].max(axis=1)
        best = int(value.argmax())
        taken.append(int(left[best]))
        left = np.delete(left, best)
    return taken


def dpp_in_numpy(vectors: np.ndarray, quality: np.ndarray, k: int) -> list[int]:
    """The incremental Cholesky factor of Chen, Zhang and Zhou (2018), on the whole kernel matrix."""
    kernel = quality[:, None] * (vectors @ vectors.T) * quality
    factors, rest = np.zeros((k, len(vectors))), np.diag(kernel).copy()
    taken: list[int] = []
    while len(taken) < k:
        best = int(rest.argmax())
        done = len(taken)
        added = (kernel[best] - factors[:done, best] @ factors[:done]) / np.sqrt(rest[best])
        factors[done] = added
        rest -= added**2
        taken.append(best)
        rest[best] = -np.inf
    return taken


def ssd_in_numpy(vectors: np.ndarray, relevance: np.ndarray, k: int, gamma: float, window: int) -> list[int]:
    """Algorithm 1 of Huang et al. (2021): vectors lose what was taken, and get it back when that leaves the window."""
    rest = vectors.copy()
    lost: list[np.ndarray] = []
    lengths: list[float] = []
    taken = [int(relevance.argmax())]
    while len(taken) < k:
        if len(lost) == window - 1:
            rest += lost.pop(0)
            lengths.pop(0)
        last = rest[taken[-1]].copy()
        length = float(np.linalg.norm(last))
        direction = last / length
        away = np.outer(rest @ direction, direction)
        rest -= away
        lost.append(away)
        lengths.append(length)
        value = relevance + gamma * np.prod(lengths) * np.linalg.norm(rest, axis=1)
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
    return taken


@click.command()
@click.option("--pool", "size", default=500, show_default=True)
@click.option("--slate", "k", default=50, show_default=True)
@click.option("--dim", default=64, show_default=True)
@click.option("--rounds", default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def slates(size: int, k: int, dim: int, rounds: int, as_json: bool) -> None:
    """One thread each, from rows of an item matrix to the slate; ours copy and scale the vectors within their time."""
    rng = np.random.default_rng(7)
    kinds = rng.standard_normal((20, dim))
    matrix = (kinds[rng.integers(0, 20, 100_000)] + rng.standard_normal((100_000, dim))).astype(np.float32)
    norms = np.linalg.norm(matrix, axis=1).astype(np.float32)
    rows = rng.integers(0, len(matrix), size).astype(np.uint32)
    relevance = np.sort(rng.random(size).astype(np.float32))[::-1].copy()
    quality = np.exp(relevance).astype(np.float32)

    def unit() -> np.ndarray:
        return matrix[rows] / norms[rows, None]

    runs: dict[str, Callable[[], Any]] = {
        "mmr": lambda: Pool(matrix, rows, norms).mmr(relevance, k, 0.7),
        "mmr_numpy": lambda: mmr_in_numpy(unit(), relevance, k, 0.7),
        "dpp": lambda: Pool(matrix, rows, norms).dpp(quality, k)[0],
        "dpp_numpy": lambda: dpp_in_numpy(unit(), quality, k),
        "ssd": lambda: Pool(matrix, rows, norms).ssd(relevance, k, 0.5, 8),
        "ssd_numpy": lambda: ssd_in_numpy(unit(), relevance, k, 0.5, 8),
    }
    common = {each: len(set(runs[each]().tolist()) & set(runs[f"{each}_numpy"]())) for each in ("mmr", "dpp", "ssd")}
    assert min(common.values()) >= 0.9 * k, common  # float32 sums of another order may turn a near tie
    found = medians(runs, rounds)
    figures: dict[str, Any] = {f"{each}_us": round(us, 1) for each, us in found.items()}
    figures |= {f"{each}_ratio_to_numpy": round(found[f"{each}_numpy"] / found[each], 1) for each in common}
    figures |= {f"{each}_in_common": f"{many} of {k}" for each, many in common.items()}
    figures["path"] = path()
    report(figures, as_json)
