"""What ``make stress`` consists of: a table of parts, one line each, none of which takes more than fifteen minutes.

A part is a command that ends with 0 when all is well. It finds its seed in ``MIXLINE_SEED``, and in its arguments
wherever they say ``{seed}``; if the last line that it prints is a JSON object, that is kept as its figures.
"""

import sys
from typing import NamedTuple

LIMIT_S_MAX = 900


class Part(NamedTuple):
    """``limit_s``: when the part's process group is killed."""

    name: str
    command: tuple[str, ...]
    limit_s: int = LIMIT_S_MAX


def tests(name, *selection, limit_s=LIMIT_S_MAX):
    """Tests marked ``stress`` of files, or single ones as pytest names them: ``tests/x.py::test_y[1]``."""
    pytest = (sys.executable, "-m", "pytest", "-m", "stress", "-p", "no:cacheprovider")
    return Part(name, (*pytest, *selection), limit_s)


def resilience(name, *options):
    """``mixline bench resilience``: the trial that the part is named after; a suffix says what its options do."""
    words = ("bench", "resilience", name.split("-tcp")[0].rstrip("-0123"), "--json", "--seed", "{seed}", *options)
    return Part(f"resilience-{name}", (sys.executable, "-m", "mixline.tools", *words))


def make(name, *words, limit_s=LIMIT_S_MAX):
    """``make TARGET VARIABLE=VALUE``."""
    return Part(name, ("make", *words), limit_s)


MIXLINE = (sys.executable, "-m", "mixline.tools")
SEEDED = ("--json", "--seed", "{seed}")
ASKS = "tests/node/test_serve.py::test_a_million_damaged_asks"

PARTS = (
    make("sanitize-kernels", "sanitize-test", "SANITIZE_TESTS=tests/kernels"),
    make("sanitize-ipc", "sanitize-test", "SANITIZE_TESTS=tests/ipc"),
    make(
        "sanitize-decoders",
        "sanitize-test",
        "SANITIZE_TESTS=tests/node/test_broker_probe.py",
        "SANITIZE_MARKS=stress or not stress",
    ),
    tests("neon", "tests/kernels/test_other_machines.py"),
    tests("epoch-flips", "tests/node/test_epoch_flips.py"),
    *(
        tests(f"fold-faults-{at}", f"tests/storage/test_compaction_faults.py::test_every_call_fails[{at}]")
        for at in range(3)
    ),
    *(tests(f"reloads-{at}", f"tests/node/test_reloads.py::test_a_thousand[{at}]") for at in range(4)),
    tests("equivalence", "tests/node/test_equivalence.py"),
    tests("epoch-folds", "tests/node/test_compaction_served.py"),
    tests("damage", "tests/storage/test_damage.py"),
    tests("auto-graph", "tests/storage/test_graph_index.py"),
    *(
        tests(f"snapshot-faults-{what}", f"tests/storage/test_snapshot_faults.py::test_every_call_fails[{what}]")
        for what in ("create", "restore")
    ),
    *(
        tests(f"log-faults-{error}", f"tests/storage/test_live_faults.py::test_every_call_fails[{error}]")
        for error in ("EIO", "ENOSPC")
    ),
    tests("rings", "tests/ipc/test_rings.py"),
    tests("writer-kills", "tests/storage/test_live_crash.py"),
    tests("fuzz-decoders", "tests/node/test_broker_probe.py"),
    *(
        tests(f"fuzz-queries-{at}", f"tests/node/test_text_source.py::test_a_quarter_million_strange_queries[{at}]")
        for at in range(4)
    ),
    Part("search-deadline", (*MIXLINE, "bench", "deadline", "--verdict", "cpu", "--queries", "4800", *SEEDED)),
    tests("search-agrees", "tests/tools/test_search_quality.py"),
    tests("fuzz-messages", "tests/node/test_fuzz.py"),
    *(tests(f"fuzz-asks-{door}-{at}", f"{ASKS}[{door}-{at}]") for door in ("ipc", "tcp") for at in range(4)),
    resilience("overload"),
    resilience("kills", "--every", "2"),
    resilience("broker-kills"),
    *(resilience(f"hangs-{at}", "--count", "25", "--seed", f"{{seed}}{at}") for at in range(4)),
    resilience("poison"),
    resilience("vanish"),
    resilience("vanish-tcp", "--bind", "tcp"),
    resilience("restarts"),
    resilience("soak", "--minutes", "12"),
    resilience("sigterm"),
    resilience("zmtp"),
)
