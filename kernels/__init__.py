"""Arithmetic without I/O: scans, top-k, gather and sparse accumulation over columns, holding no GIL.

Each kernel has a slow, obvious NumPy twin in :mod:`mixline.kernels.reference`, which is its specification.
"""
