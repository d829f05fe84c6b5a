"""How much memory may still be filled: the machine's, or less where a control group says so.

Pages of files that nobody needs count as free, as they do for the kernel. Both versions of control groups are read;
what cannot be read does not bind.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/")


def available_bytes(root: Path = ROOT) -> int:
    """Bytes that can be brought into memory without pushing out anything but file pages."""
    return min([machine_bytes(root), *group_bytes(root)])


def machine_bytes(root: Path) -> int:
    """What /proc/meminfo calls available."""
    for line in (root / "proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise OSError(f"{root / 'proc/meminfo'}: no MemAvailable: a kernel before 3.14")


def group_bytes(root: Path) -> list[int]:
    """The same of every control group above this process that has a limit."""
    found = []
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mount, files = root / "sys/fs/cgroup", ("memory.max", "memory.current", ("inactive_file", "active_file"))
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            old = ("total_inactive_file", "total_active_file")
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", old)
        else:
            continue
        folder = mount / path.lstrip("/")
        while folder == mount or mount in folder.parents:
            room = room_in(folder, *files)
            if room is not None:
                found.append(room)
            folder = folder.parent
    return found


def room_in(folder: Path, limit: str, usage: str, files: tuple[str, ...]) -> int | None:
    """Limit less usage, file pages not counted; None where there is no limit."""
    try:
        most = (folder / limit).read_text().strip()
        if not most.isdecimal():
            return None
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used = int((folder / usage).read_text()) - sum(int(stat.get(name, 0)) for name in files)
    except (OSError, ValueError):
        return None
    return max(0, int(most) - max(0, used))
