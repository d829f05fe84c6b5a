"""Which instruction set the kernels take: the widest that this machine has, or the one that MIXLINE_ISA names.

The answers have the same bytes on all of them. Tests ask each kernel for each path; nothing else changes the choice.
"""

import os

from mixline.kernels.errors import KernelArgumentError

cdef extern from "isa.h" nogil:
    enum:
        MIXLINE_ISAS
    const char* mixline_isa_names[MIXLINE_ISAS]
    bint mixline_isa_present(int isa) noexcept

ISA_VARIABLE = "MIXLINE_ISA"
NAMES = tuple(mixline_isa_names[isa].decode() for isa in range(MIXLINE_ISAS))


def present():
    cdef int isa
    return tuple(name for isa, name in enumerate(NAMES) if mixline_isa_present(isa))


def checked(name):
    if name not in present():
        raise KernelArgumentError(f"instruction set {name!r}: this machine has {', '.join(present())}")
    return name


def in_use():
    return chosen


def choose(name):
    if name and name not in present():
        raise KernelArgumentError(f"{ISA_VARIABLE}={name!r}: this machine has {', '.join(present())}; or unset it")
    *_, widest = present()
    return name or widest


cdef object chosen = choose(os.environ.get(ISA_VARIABLE, ""))
