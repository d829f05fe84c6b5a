"""A machine in a folder, made sick file by file, for the tests of the doctor's checks.

The questions that no file answers are answered by :class:`Sick`.
"""

from mixline.tools.doctor_finding import Case, look
from mixline.tools.doctor_machine import Machine, Space

GIB = 1 << 30
MEMINFO = {"MemTotal": 16 * GIB, "SwapTotal": 0, "SwapFree": 0, "CommitLimit": GIB, "Committed_AS": 0}


class Sick(Machine):
    """A machine in a folder."""

    refused, core_count, clock_ns = "", 8, 60.0
    shown = True
    in_huge_pages = 1.0

    def __init__(self, root):
        super().__init__(root, {})
        self.free = Space(100 * GIB, 50 * GIB, 1000)
        self.after_pause = lambda: None

    def put(self, files):
        for name, text in files.items():
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            self.path(name).write_text(text)
        return self

    def meminfo(self, **changes):
        lines = [f"{name}: {value // 1024} kB" for name, value in (MEMINFO | changes).items() if name[:4] != "Huge"]
        lines += [f"{name}: {value}" for name, value in changes.items() if name.startswith("HugePages")]
        lines += ["Hugepagesize: 2048 kB"]
        return self.put({"/proc/meminfo": "\n".join(lines)})

    def process(self, pid, name, *arguments, **opened):
        self.put({f"/proc/{pid}/comm": f"{name}\n", f"/proc/{pid}/cmdline": "\0".join([name, *arguments, ""])})
        self.path(f"/proc/{pid}/fd").mkdir()
        for fd, target in opened.items():
            self.path(f"/proc/{pid}/fd/{fd}").symlink_to(target)
        return self

    def space(self, path):
        return self.free

    def memory_file(self):
        return self.refused

    def cores(self):
        return self.core_count

    def clock_cost_ns(self):
        return self.clock_ns

    def pause(self, seconds):
        self.after_pause()

    def resident(self, path):
        return super().resident(path) if self.shown else None

    def huge(self, path):
        return self.in_huge_pages


def examined(module, name, machine, **about):
    """What one check of a module finds; ``about`` are fields of the case."""
    return look(name, dict(module.CHECKS)[name], Case(machine, **{"workers": 4, "clients": 1000, **about}))


def verdict(module, name, machine, state, *words, **about):
    """The check finds one thing, of this state, and these words are in what it says."""
    (found,) = examined(module, name, machine, **about)
    text = " ".join([found.found, found.costs, found.mend])
    assert found.state == state, found
    assert all(word in text for word in words), found
    if state in ("warn", "bad"):
        assert found.costs and found.mend, "says neither what it costs nor what mends it"
    return found
