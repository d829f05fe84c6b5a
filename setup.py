"""Compile the extensions; everything else about the distribution is in pyproject.toml.

Cython ignores setuptools' ``package_dir``, so a folder of symbolic links, ``build/cython_view/mixline/<folder>``,
shows it the import names that the mapping creates. mypy and cython-lint look through the same view.

``MIXLINE_DEBUG=1`` compiles the checks in (bounds, asserts, leak counters).
``MIXLINE_SANITIZE=address,undefined`` adds the sanitizers (preload the runtime when importing). Each
kind of build has a base folder of its own, so that no object file of one is taken for another's.
"""

import os
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
FOLDERS = ("kernels", "ipc", "storage", "node", "tools")
COMPILED = ("kernels", "ipc", "storage", "node", "tools")
VIEW = ROOT / "build" / "cython_view"
DEBUG = os.environ.get("MIXLINE_DEBUG", "0") not in ("", "0")
SANITIZE = os.environ.get("MIXLINE_SANITIZE", "")
BASE = Path("build", "sanitize" if SANITIZE else "debug" if DEBUG else "")


def make_view() -> None:
    """Link ``build/cython_view/mixline/<folder>`` to ``<folder>`` for each top-level package."""
    package = VIEW / "mixline"
    package.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        link = package / folder
        if not link.is_symlink():
            link.symlink_to(ROOT / folder, target_is_directory=True)


def compile_args() -> list[str]:
    # No contraction of a*b+c into one rounding: a score must have the same bits on every instruction set.
    # Nobody asks which operation overflowed; while somebody might, no choice between two numbers becomes a vector.
    args = ["-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-unused-function"]
    if DEBUG:
        # Line tables are all that a backtrace needs, and a quarter of the work less than names of variables as well.
        args += ["-O1", "-g1", "-UNDEBUG", "-DMIXLINE_DEBUG=1"]
    else:
        # A level of optimisation in the builder's CFLAGS wins over ours; these would come after it.
        args += ["-g0", "-DNDEBUG"] + ([] if "-O" in os.environ.get("CFLAGS", "") else ["-O3"])
    if SANITIZE:
        args += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    return args


def extensions() -> list[Extension]:
    link_args = [f"-fsanitize={SANITIZE}"] if SANITIZE else []
    found = []
    headers = [str(path.relative_to(ROOT)) for folder in COMPILED for path in sorted((ROOT / folder).glob("*.h"))]
    for folder in COMPILED:
        for source in sorted((ROOT / folder).glob("*.pyx")):
            found.append(
                Extension(
                    f"mixline.{folder}.{source.stem}",
                    [str(source.relative_to(ROOT))],
                    include_dirs=[numpy.get_include(), *COMPILED],
                    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
                    extra_compile_args=compile_args(),
                    extra_link_args=link_args,
                    depends=headers,
                )
            )
    return found


make_view()
os.chdir(ROOT)
setup(
    ext_modules=cythonize(
        extensions(),
        include_path=[str(VIEW)],
        build_dir=str(BASE / "cython"),
        compiler_directives={
            "language_level": "3",
            "boundscheck": DEBUG,
            "wraparound": False,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "embedsignature": False,
            "freethreading_compatible": False,
        },
        nthreads=0 if sys.platform != "linux" else min(os.cpu_count() or 1, 8),
        quiet=True,
    ),
    options={"build": {"build_base": str(BASE)}, "build_ext": {"parallel": True}},
    cffi_modules=["ipc/os_build.py:ffibuilder"] if (ROOT / "ipc" / "os_build.py").exists() else [],
)
