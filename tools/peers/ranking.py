"""The typical request as the peers compute it: faiss for the neighbours, NumPy for the score, features from elsewhere.

Every peer shares this arithmetic, so that they differ by their frame and their feature store alone. One thread each:
two processes already fill two cores.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

CANDIDATES, PAGE, FEATURES = 500, 50, 16
FOLDER_VARIABLE = "MIXLINE_PEER_DATA"
INDEX_VARIABLE = "MIXLINE_PEER_INDEX"  # flat, ivf or hnsw


def index_file(folder: Path, kind: str) -> Path:
    """Where the index of a data set lies."""
    return folder / f"{kind}.faiss"


class Page(NamedTuple):
    """Best first; ids uint64, scores float32."""

    ids: np.ndarray
    scores: np.ndarray


class Ranking:
    """Index, users and weights of one process."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(os.environ[FOLDER_VARIABLE])
        faiss.omp_set_num_threads(1)
        file = index_file(self.folder, os.environ.get(INDEX_VARIABLE, "flat"))
        self.index: Any = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)  # mapped: both processes share it
        self.users, self.ids, self.weights = self.map("users"), self.map("ids"), self.map("weights")

    def map(self, name: str) -> np.ndarray:
        """A matrix of the data set, mapped."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    def nearest(self, users: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Similarities and rows of the candidates of each user."""
        found: tuple[np.ndarray, np.ndarray] = self.index.search(self.users[users], CANDIDATES)
        return found

    def page(self, similarity: np.ndarray, rows: np.ndarray, features: np.ndarray) -> Page:
        """The best of one user's candidates by similarity plus weighted features (500 x 16)."""
        scores = similarity + features @ self.weights
        best = np.argpartition(scores, -PAGE)[-PAGE:]
        best = best[np.argsort(-scores[best])]
        return Page(self.ids[rows[best]], scores[best])
