"""What a kernel's door refuses: wrong dtype, shape, contiguity or bounds, said before any arithmetic."""

from __future__ import annotations


class KernelArgumentError(ValueError):
    """An array handed to a kernel does not fit; the message names the argument, what it is and what it must be."""
