def choose_path(isa: str) -> str:
    """Take the code path that goes with an instruction set of :mod:`mixline.kernels.isa`; its name.

    That is ``amx``, ``vnni``, ``avx2``, ``neon`` or ``portable``. A path whose sums differ from the portable one's is
    not taken. All give the same bits.
    """

def path() -> str:
    """The name of the path in use."""
