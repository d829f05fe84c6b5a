"""Which code a result is about: the commit, and a digest of what differs from it; without git, of the sources."""

import hashlib
import subprocess
from pathlib import Path

FOLDERS = ("kernels", "ipc", "storage", "node", "tools", "tests")
ENDINGS = (".py", ".pyx", ".pxd", ".h", ".toml")


def git(root, *arguments):
    """Output as bytes; None where this is no repository, or git is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def revision_of(root):
    """``<commit>``, ``<commit>+<digest of changes>`` or ``sources-<digest>``."""
    top = git(root, "rev-parse", "--show-toplevel")
    head = git(root, "rev-parse", "HEAD")
    if top is None or head is None or Path(top.decode().strip()) != Path(root).resolve():
        names = [path for folder in FOLDERS for path in (Path(root) / folder).rglob("*") if path.suffix in ENDINGS]
        return f"sources-{digest_of(b'', sorted(names))}"
    changes = git(root, "diff", "HEAD", "--binary") or b""
    listed = git(root, "ls-files", "--others", "--exclude-standard", "-z") or b""
    fresh = [Path(root) / name for name in sorted(listed.decode().split("\0")) if name]
    commit = head.decode().strip()[:12]
    return f"{commit}+{digest_of(changes, fresh)}" if changes or fresh else commit


def digest_of(start, paths):
    digest = hashlib.sha256(start)
    for path in paths:
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
