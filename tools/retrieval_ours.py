"""What mixline itself brings to ``mixline bench retrieval``: exact scans of codes, inverted lists, and the graph.

Made by the functions that a build calls, on the kernels that it hands them; read into huge pages as a node that warms
reads its store, where the file system has them; searched as the sources of a node do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from mixline.kernels.graph_search import GraphSearch, rerank_count
from mixline.kernels.ivf import ListSearch
from mixline.kernels.scan import scan, scan_listed
from mixline.kernels.shortlist import Shortlist, scan_together
from mixline.kernels.topk import TopK
from mixline.node.build_kernels import build_kernels
from mixline.node.warming import in_small_pages, read_again
from mixline.storage.arrays import map_array
from mixline.storage.calibration import ladder, width_for
from mixline.storage.codes import norms_file, open_codes, write_codes
from mixline.storage.complaints import Complaints
from mixline.storage.costs import sifting
from mixline.storage.frames import open_frame, write_frame
from mixline.storage.graph_index import open_graph, write_graph
from mixline.storage.ivf import build_ivf, keep_for, open_lists
from mixline.storage.manifest import IndexFacts
from mixline.storage.matrices import copy_matrix
from mixline.storage.nibbles import open_nibbles, write_nibbles
from mixline.storage.progress import Silence
from mixline.tools.retrieval_contender import Built, Contender, Search, Task, cached

LAYOUT = "mixline-6"  # changes when what a build writes does
KEPT_INT4 = (2, 3, 4, 5, 8)  # times k, for the second look
KEPT_INT8 = (1.25, 1.5, 2, 4)
BEAMS_MAX = 16  # times k
UNSURE = 0.8  # of recall: the least that a sweep begins at


class Space:
    """The folder of a space as a build leaves it, made in parts, each timed and cached."""

    def __init__(self, task: Task, built: dict[str, Built]) -> None:
        self.task, self.built, data = task, built, task.data
        self.metric, kernels, quiet = data.metric, build_kernels(), Silence()

        def rows(folder: Path) -> None:
            copy_matrix(data.rows, folder, "items", folder, "items", Complaints(), quiet)
            write_frame(folder, "items", self.metric, rotate=False)

        def lists(folder: Path) -> None:
            facts = build_ivf(folder, self.metric, kernels.assign, kernels.list_search, kernels.exact, quiet, "items")
            (folder / "ivf.json").write_bytes(msgspec.json.encode(facts))

        def graph(folder: Path) -> None:
            facts = write_graph(folder, self.metric, kernels.link, kernels.walk, kernels.exact, task.threads, quiet)
            (folder / "graph.json").write_bytes(msgspec.json.encode(facts))

        self.folder = cached(task, LAYOUT, rows, part="rows")[0]
        self.part("int8", lambda folder: write_codes(folder, "items", self.metric, quiet))
        self.part("int4", lambda folder: write_nibbles(folder, "items", self.metric, quiet))
        for name, build in (("ivf", lists), ("graph", graph)):
            if task.batch == 1 and task.wants(f"mixline_{name}"):
                self.part(name, build)
        for file in sorted(self.folder.glob("*.npy")):  # read as `[warm]` reads a store
            if in_small_pages(file):
                read_again(file)
        self.rows, self.norms = map_array(self.folder / "items.npy"), map_array(self.folder / "item_norms.npy")
        self.keys = np.arange(len(self.rows), dtype=np.uint64)

    def part(self, name: str, build: Callable[[Path], None]) -> None:
        """Make one part, or find it made."""
        self.built[f"mixline_{name}"] = cached(self.task, LAYOUT, build, part=name, begins=False)[1]

    def facts(self, kind: str) -> IndexFacts:
        """What the manifest would say of an index, measured at the k that is nearest to ours."""
        found = msgspec.json.decode((self.folder / f"{kind}.json").read_bytes(), type=list[IndexFacts])
        return min(found, key=lambda facts: abs(facts.k - self.task.k))

    def second_look(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The best k of ``rows`` by float32 scores."""
        best = TopK(self.task.k)
        scan_listed(self.rows, query, best, self.keys, rows, metric=self.metric, norms=self.norms)
        return best.result()[0]


def bitmap(allowed: np.ndarray | None) -> np.ndarray | None:
    """Words of 64 rows, as kernels take them."""
    if allowed is None:
        return None
    bits = np.packbits(allowed, bitorder="little")
    return np.concatenate([bits, np.zeros(-len(bits) % 8, dtype=np.uint8)]).view("<u8")


def exact_scans(space: Space) -> Iterator[Contender]:
    """Float32 rows; int8 codes whose bounds make the answer sure; and the best estimates of int8 and int4 codes."""
    task, metric = space.task, space.metric
    codes, nibbles, allowed = (
        open_codes(space.folder, "items"),
        open_nibbles(space.folder, "items"),
        bitmap(task.allowed),
    )
    count, (center, signs) = len(space.rows), open_frame(space.folder)
    norms = map_array(norms_file(space.folder, "items")) if metric == "l2" else None

    def over_rows(queries: np.ndarray, width: int) -> list[np.ndarray]:
        found = []
        for query in queries:
            best = TopK(task.k)
            scan(space.rows, query, best, space.keys, metric=metric, norms=space.norms, allowed=allowed)
            found.append(best.result()[0])
        return found

    def over_codes(parts: tuple[np.ndarray, np.ndarray, np.ndarray | None]) -> Search:
        def shortlist(query: np.ndarray, width: int, guess: bool = True) -> Shortlist:
            return Shortlist(query, task.k, metric=metric, keep=width or None, guess=guess, center=center, signs=signs)

        def pass_over(lists: list[Shortlist]) -> None:
            scan_together(lists, *parts, count, norms=norms, allowed=[allowed] * len(lists))

        def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
            lists = [shortlist(query, width) for query in queries]
            pass_over(lists)
            return [settled(query, width, one) for query, one in zip(queries, lists, strict=True)]

        def settled(query: np.ndarray, width: int, found: Shortlist) -> np.ndarray:
            if found.missed:
                found = shortlist(query, width, guess=False)
                pass_over([found])
            return over_rows(query[None], 0)[0] if found.wide else space.second_look(query, found.rows())

        return search

    yield Contender("mixline_float", [0], over_rows, ours=True, exact=True)
    if codes is not None and nibbles is not None:
        yield Contender("mixline_int8", [0], over_codes(codes), ours=True, exact=True)
        kept = [round(one * task.k) for one in KEPT_INT8]
        yield Contender("mixline_int8_estimates", kept, over_codes(codes), ours=True)
        kept = [one * task.k for one in KEPT_INT4]
        yield Contender("mixline_int4_estimates", kept, over_codes((*nibbles, None)), ours=True)


def lists(space: Space) -> Contender | None:
    """Inverted lists, over the widths that the calibration names; filtered, over all there are."""
    task, facts, found = space.task, space.facts("ivf"), open_lists(space.folder)
    if found is None:
        return None
    searcher = ListSearch(*found, matrix=space.rows, keys=space.keys, matrix_norms=space.norms, metric=space.metric)
    allowed, keep = bitmap(task.allowed), keep_for(facts, task.k)
    count = len(space.rows) if task.allowed is None else int(task.allowed.sum())

    def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
        by = sifting(facts, width, count, *space.rows.shape).by
        return [searcher.search(query, task.k, width, keep=keep, allowed=allowed, by=by)[0] for query in queries]

    least = width_for(facts, UNSURE, task.k) or 1
    return Contender("mixline_ivf", list(ladder(least, max(least, facts.parameters["lists"]))), search, ours=True)


def graph(space: Space) -> Contender | None:
    """The proximity graph."""
    task, found = space.task, open_graph(space.folder)
    if found is None:
        return None
    searcher = GraphSearch(*found, metric=space.metric)
    allowed = bitmap(task.allowed)

    def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
        most = rerank_count(task.k)
        return [space.second_look(query, searcher.search(query, width, most, allowed=allowed)) for query in queries]

    return Contender("mixline_graph", list(ladder(task.k, BEAMS_MAX * task.k)), search, ours=True)


def ours(task: Task, built: dict[str, Built]) -> Iterator[Contender]:
    """All ways of ours to do the task; ``built`` gets how long each part took."""
    space = Space(task, built)
    yield from exact_scans(space)
    for name, make in (("ivf", lists), ("graph", graph)):
        one = make(space) if f"mixline_{name}" in built else None
        if one is not None:
            yield one
