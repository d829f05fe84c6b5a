ISA_VARIABLE: str
NAMES: tuple[str, ...]

def present() -> tuple[str, ...]:
    """The instruction sets of this machine that kernels have paths for, from ``portable`` to the widest."""

def checked(name: str) -> str:
    """``name``, if this machine has it; raises :class:`~mixline.kernels.errors.KernelArgumentError` if not."""

def choose(name: str) -> str:
    """What an environment variable of this value means: the widest for an empty one."""

def in_use() -> str:
    """The instruction set that kernels took when they were imported."""
