"""Compiles the C peer, against the very libzmq that pyzmq ships, so that no contender is older than another.

Only benchmarks need a compiler and ``zmq.h``; the product needs neither. Where the wheel's library cannot be linked,
the system's is, and the report says which was used.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import click
import zmq

from mixline.tools.bench_store import cache_folder

SOURCE = Path(__file__).with_name("bench_proxy.c")
NEEDS = "apt-get update && apt-get install -y gcc libzmq3-dev"


class Proxy(NamedTuple):
    """The compiled peer, and the library that it runs on."""

    path: Path
    library: str
    version: str


def wheel_library() -> Path | None:
    """The libzmq inside the pyzmq wheel; None for a pyzmq that uses the system's."""
    found = sorted((Path(zmq.__file__).parent.parent / "pyzmq.libs").glob("libzmq*.so*"))
    return found[0] if found else None


def build_proxy() -> Proxy:
    """Compile on first use; ClickException says what to install."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise click.ClickException(f"this benchmark compiles its C peer and found no C compiler: {NEEDS}")
    folder = cache_folder() / "proxy"
    folder.mkdir(parents=True, exist_ok=True)
    library = wheel_library()
    choices = [["-lzmq"]]
    if library is not None:
        choices.insert(0, [str(library), f"-Wl,-rpath,{library.parent}", "-Wl,--allow-shlib-undefined"])
    words = ""
    for link in choices:
        name = hashlib.sha256(SOURCE.read_bytes() + " ".join(link).encode()).hexdigest()[:16]
        target = folder / f"bench_proxy-{name}"
        if not target.exists():
            done = subprocess.run(
                [compiler, "-O2", "-o", str(target), str(SOURCE), *link], capture_output=True, text=True
            )
            words += done.stderr
            if done.returncode:
                continue
        version = subprocess.run([str(target), "version"], capture_output=True, text=True)
        if version.returncode == 0:
            used = "the libzmq of the pyzmq wheel" if len(link) > 1 else "the system's libzmq"
            return Proxy(target, used, version.stdout.strip())
        target.unlink()
        words += version.stderr
    raise click.ClickException(f"the C peer does not compile; it needs zmq.h (Debian: {NEEDS}):\n{words[-1500:]}")
