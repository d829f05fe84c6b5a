"""What kernels want to know of rows, made from plain NumPy: their lengths, and a mask as a bitmap."""

import numpy as np

from mixline.kernels.bitmap import all_rows, clear_rows


def norms_of(matrix):
    return np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)).astype(np.float32)


def words_of(mask):
    words = all_rows(len(mask))
    clear_rows(words, np.flatnonzero(~mask).astype(np.uint32))
    return words
