"""Which approximate indexes a space gets.

With ``index = "auto"`` inverted lists are made first, since they take a tenth of the time, and measured. A graph is
linked too where they turn out badly: rows that do not lie in clusters, as vectors of sentences do not, have their
nearest in a great part of all lists. It stays when it measures better. All of it is decided by counts, never by a
clock, so that the same input gives the same epoch.
"""

from __future__ import annotations

from pathlib import Path

from mixline.storage.clusters import threads
from mixline.storage.costs import search_ns, walk_ns
from mixline.storage.errors import MemoryRefused
from mixline.storage.graph_index import DIM_MAX, need_bytes, remove_graph, write_graph
from mixline.storage.ivf import build_ivf, is_wanted
from mixline.storage.kernels import BuildKernels
from mixline.storage.manifest import IndexFacts
from mixline.storage.progress import Progress
from mixline.storage.spec import SpaceSpec

RECALL = 0.99  # of a source that asks for none
WALKED = 4000  # rows that a walk for the best 100 comes to, about, wherever it was measured
WORTH = 2.0  # times such a walk: what lists may cost before a graph is tried
LINKED_MAX = 1 << 27  # numbers in all rows, a million of 128: some minutes on two cores


def check_memory(name: str, space: SpaceSpec, count: int, memory_bytes: int) -> None:
    """:class:`MemoryRefused` when the graph that the specification asks for does not fit."""
    need, has_items = need_bytes(count, threads()), space.items is not None or space.learn is not None
    if space.index == "graph" and has_items and need > memory_bytes:
        raise MemoryRefused(
            f"spaces.{name}: linking a graph of {count:,} rows needs {need:,} bytes; the limit is {memory_bytes:,}; "
            'raise --memory, or take index = "ivf"'
        )


def build_indexes(
    name: str,
    space: SpaceSpec,
    folder: Path,
    shape: tuple[int, int],
    kernels: BuildKernels,
    memory_bytes: int,
    progress: Progress,
) -> tuple[IndexFacts, ...]:
    """Make the indexes of the items in ``folder``, ``shape`` (rows, dim), whose codes are there already."""
    count, dim = shape
    lists: tuple[IndexFacts, ...] = ()
    if is_wanted(space.index, count):
        lists = build_ivf(folder, space.metric, kernels.assign, kernels.list_search, kernels.exact, progress, name)
    tried = bool(lists) and space.index == "auto" and is_worth_linking(lists[0], count, dim, memory_bytes)
    if space.index != "graph" and not tried:
        return lists
    progress.phase(f"linking {name}", count)
    graph = write_graph(folder, space.metric, kernels.link, kernels.walk, kernels.exact, threads(), progress)
    if tried and search_ns(graph[0], RECALL, dim) >= search_ns(lists[0], RECALL, dim):
        remove_graph(folder)
        return lists
    return lists + graph


def is_worth_linking(lists: IndexFacts, count: int, dim: int, memory_bytes: int) -> bool:
    """Whether ``"auto"`` tries a graph beside lists that measure so: they cost twice what a walk may, or do not reach
    the recall at all, and linking is a matter of minutes and fits into the memory."""
    if dim > DIM_MAX or count * dim > LINKED_MAX or need_bytes(count, threads()) > memory_bytes:
        return False
    return search_ns(lists, RECALL, dim) > WORTH * walk_ns(WALKED, dim)
