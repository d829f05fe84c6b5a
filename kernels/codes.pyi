def choose_path(simd: str) -> str:
    """Take the code path that goes with ``avx512``, ``avx2`` or ``portable``; its name: ``vnni``, ``avx2``,
    ``portable``. A path whose sums differ from the portable one's is not taken. All give the same bits.
    """
