"""Commands under strace: which calls they make, and what becomes of them when one fails."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

STRACE = ("strace", "-f", "--seccomp-bpf", "-qq")  # which stops at the calls that it looks at alone
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt-get install strace")


def calls_made(command: Sequence[str], names: str, log: Path) -> Iterator[tuple[str, int, str]]:
    """Every call of these names: its name, how many of that name there were with it, and the line that tells of it."""
    traced = [*STRACE, "-y", "-e", f"trace={names}", "-o", str(log)]
    subprocess.run([*traced, *command], check=True, capture_output=True)
    counts: dict[str, int] = {}
    for line in log.read_text().splitlines():
        name = re.sub(r"^\d+\s+", "", line).partition("(")[0]
        if name.isidentifier():
            counts[name] = counts.get(name, 0) + 1
            yield name, counts[name], line


def failing(command: Sequence[str], call: str, at: int, error: str) -> subprocess.CompletedProcess[str]:
    """Run a command of which one call fails."""
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={at}", "-o", "/dev/null"]
    return subprocess.run([*STRACE, *inject, *command], capture_output=True, text=True)
