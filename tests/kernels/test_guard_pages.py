"""No kernel reads or writes a byte outside its arrays: each lies against a page that may not be touched.

Run in a process of its own, which such a touch would kill. Arrays end where the forbidden page begins, and again begin
where one ends.
"""

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest
from test_graph import graph_of
from test_ivf import make_lists

from mixline.kernels import codes, graph_build, graph_search, scan
from mixline.kernels.bitmap import all_rows
from mixline.kernels.graph_search import GraphSearch
from mixline.kernels.isa import present
from mixline.kernels.ivf import ListSearch
from mixline.kernels.shortlist import Shortlist, scan_together
from mixline.kernels.topk import TopK
from mixline.storage.codes import encode
from mixline.storage.frames import Frame, center_for, signs_for
from mixline.storage.nibbles import encode_nibbles

SIZES = ((1, 1), (15, 3), (16, 4), (17, 31), (33, 33), (100, 64), (257, 129), (40, 700))
LIBC = ctypes.CDLL(None, use_errno=True)
mapped = []


def guarded(array, at_end):
    """A copy between two forbidden pages, flush with the one after it or with the one before."""
    page = mmap.PAGESIZE
    size = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, size + 2 * page)
    mapped.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    offset = page + (size - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    for forbidden in (start, start + page + size):
        assert LIBC.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0) == 0
    return copy


def look_at_all(n, dim, metric, at_end):
    """Every kernel that reads rows or codes, once."""
    rng = np.random.default_rng(n * dim)
    guard = lambda *arrays: [guarded(array, at_end) for array in arrays]  # noqa: E731
    plain = rng.standard_normal((n, dim), dtype=np.float32)
    matrix, query, allowed = guard(plain, plain[0], all_rows(n))
    keys, norms, rows = guard(
        np.arange(n, dtype=np.uint64), np.linalg.norm(plain, axis=1), np.arange(n, dtype=np.uint32)[::-1].copy()
    )
    [norms] = guard(norms.astype(np.float32))
    k = min(n, 5)
    best = TopK(k)
    scan.scan(matrix, query, best, keys, metric=metric, norms=norms, allowed=allowed)
    scan.scan_listed(matrix, query, best, keys, rows, metric=metric, norms=norms)
    wanted = set(best.result()[0].tolist())
    coded, nibbles = guard(*encode(plain, metric)), guard(*encode_nibbles(plain, metric))
    for many in (1, 3, 17):
        shorts = [Shortlist(query, k, metric=metric) for _ in range(many)]
        scan_together(shorts, *coded, n, norms=norms, allowed=[allowed] * many)
        assert all(wanted <= set(short.rows().tolist()) for short in shorts)
        shorts = [Shortlist(query, k, metric=metric, keep=n) for _ in range(many)]
        scan_together(shorts, *nibbles, None, n, norms=norms)
        assert all(len(short.rows()) == n for short in shorts)
    center = center_for(plain) if metric == "l2" else np.empty(0, dtype=np.float32)
    frame = Frame(*guard(center, signs_for(dim)))
    coded, lengths = guard(*encode(plain, metric, frame)), guarded(frame.lengths(plain), at_end)
    short = Shortlist(query, k, metric=metric, center=frame.center, signs=frame.signs)
    scan_together([short], *coded, n, norms=lengths, allowed=[allowed])
    assert wanted <= set(short.rows().tolist())
    middles = plain[:: max(1, n // 4)].copy()
    lists = guard(*make_lists(plain, np.arange(n) % len(middles), middles, metric))
    search = ListSearch(*lists, matrix=matrix, keys=keys, matrix_norms=norms, metric=metric)
    assert len(search.search(query, k, len(middles), allowed=allowed)[0]) == k
    graph = guard(*graph_of(plain, metric))
    assert len(GraphSearch(*graph, metric=metric).search(query, n, k, allowed=allowed)) == k


def look_on_each_path():
    for isa in present():
        for module in (codes, graph_build, graph_search, scan):
            module.choose_path(isa)
        for at_end in (True, False):
            for n, dim in SIZES:
                for metric in scan.METRICS:
                    look_at_all(n, dim, metric, at_end)
    print("untouched")


def touch(at_end):
    array = guarded(np.zeros(100, dtype=np.uint8), at_end)
    ctypes.string_at(array.ctypes.data + (100 if at_end else -1), 1)


@pytest.mark.parametrize("act", ["look_on_each_path()", "touch(True)", "touch(False)"])
def test_kernels_touch_nothing_beyond_their_arrays(act):
    script = f"import sys; sys.path[:0] = {sys.path!r}; import test_guard_pages; test_guard_pages.{act}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if act.startswith("touch"):
        seen = done.returncode < 0 or "AddressSanitizer: SEGV" in done.stderr
        assert seen, "a touch of the forbidden page must be seen"
    else:
        assert done.returncode == 0 and done.stdout == "untouched\n", done.stderr[-2000:]
