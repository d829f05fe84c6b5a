"""The peers of ``mixline bench retrieval``: whichever is installed, each on one thread, built on as many as ours.

Where a peer can filter inside its search, it does; hnswlib calls Python for each row it looks at, which is its only
way. ScaNN, usearch and SVS cannot, so they are left out of filtered tasks. SVS walks float32 rows: its LVQ codes end a
process that runs on any processor but Intel's.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mixline.tools.retrieval_contender import Built, Contender, Search, Task, cached

MODULES = ("faiss", "hnswlib", "usearch", "scann", "svs")
PACKAGES = {"faiss": "faiss-cpu", "svs": "scalable-vs"}
LINKS, CONSTRUCTION = 16, 100  # M and efConstruction of every HNSW
DEGREE, WINDOW, ALPHAS = 64, 128, {"l2": 1.2, "dot": 0.95}  # of SVS, as its documentation has them
BEAMS = (1, 1.5, 2, 3, 4, 6, 8, 12)  # of k
PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PER_CENTROID = 64  # rows that faiss trains on
ROUNDS = 10


def missing() -> list[str]:
    """Peers that are not installed."""
    return [name for name in MODULES if importlib.util.find_spec(name) is None]


def versioned(name: str, module: str) -> str:
    """What an index of this peer is called in the cache."""
    return f"{name}-{importlib.metadata.version(PACKAGES.get(module, module))}"


def beams(k: int) -> list[int]:
    """Widths of a walk that must find ``k``."""
    return [round(k * one) for one in BEAMS]


def numpy_exact(task: Task) -> Contender:
    """One product, one partition; filtered, of the rows that are allowed, gathered for each call."""
    data = task.data
    squares = np.einsum("ij,ij->i", data.rows, data.rows) if data.metric == "l2" else None
    among = None if task.allowed is None else np.flatnonzero(task.allowed)

    def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
        rows, square = data.rows, squares
        if among is not None:
            rows, square = rows[among], None if square is None else square[among]
        scores = queries @ rows.T
        if square is not None:
            scores = 2.0 * scores - square
        k = min(task.k, scores.shape[1])
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        return list(best if among is None else among[best])

    return Contender("numpy", [0], search, exact=True)


def faiss_peers(task: Task, built: dict[str, Built]) -> Iterator[Contender]:
    """Flat, half-precision and 8-bit scalar quantisers, inverted lists and HNSW."""
    faiss: Any = importlib.import_module("faiss")  # its stubs know little of it
    data, (count, dim) = task.data, task.data.rows.shape
    metric = faiss.METRIC_L2 if data.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    lists = 1 << round(np.log2(4.0 * count**0.5))
    bits = None if task.allowed is None else np.packbits(task.allowed, bitorder="little")
    chosen = {} if bits is None else {"sel": faiss.IDSelectorBitmap(bits)}

    def ivf() -> Any:
        index = faiss.index_factory(dim, f"IVF{lists},Flat", metric)
        index.cp.niter, index.cp.max_points_per_centroid = ROUNDS, PER_CENTROID
        return index

    def hnsw() -> Any:
        index = faiss.IndexHNSWFlat(dim, LINKS, metric)
        index.hnsw.efConstruction = CONSTRUCTION
        return index

    def opened(name: str, make: Any) -> Any:
        def build(folder: Path) -> None:
            index = make()
            index.train(data.rows)
            index.add(data.rows)
            faiss.write_index(index, str(folder / "index"))

        faiss.omp_set_num_threads(task.threads)
        folder, built[name] = cached(task, versioned(name, "faiss"), build)
        faiss.omp_set_num_threads(1)
        return faiss.read_index(str(folder / "index"))

    def asked(index: Any, parameters: Any) -> Search:
        def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
            return list(index.search(queries, task.k, params=parameters(width))[1])

        return search

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlat(dim, metric)
    flat.add(data.rows)
    plain = faiss.SearchParameters(**chosen) if chosen else None
    yield Contender("faiss_flat", [0], asked(flat, lambda width: plain), exact=True)
    for name, kind in (("faiss_sq_fp16", "SQfp16"), ("faiss_sq8", "SQ8")):
        if bits is None and task.wants(name):
            index = opened(name, lambda kind=kind: faiss.index_factory(dim, kind, metric))
            yield Contender(name, [0], asked(index, lambda width: None), exact=True)
    if task.batch == 1 and task.wants("faiss_ivf"):
        probes = [one for one in PROBES if one <= lists]
        parameters = {one: faiss.SearchParametersIVF(nprobe=one, **chosen) for one in probes}
        yield Contender("faiss_ivf", probes, asked(opened("faiss_ivf", ivf), parameters.__getitem__))
    if task.batch == 1 and task.wants("faiss_hnsw"):
        walks = {one: faiss.SearchParametersHNSW(efSearch=one, **chosen) for one in beams(task.k)}
        yield Contender("faiss_hnsw", list(walks), asked(opened("faiss_hnsw", hnsw), walks.__getitem__))


def hnswlib_peer(task: Task, built: dict[str, Built]) -> Contender:
    """M 16, efConstruction 100."""
    import hnswlib

    data, space = task.data, "l2" if task.data.metric == "l2" else "ip"

    def build(folder: Path) -> None:
        made = hnswlib.Index(space, data.rows.shape[1])
        made.init_index(len(data.rows), M=LINKS, ef_construction=CONSTRUCTION, random_seed=1)
        made.add_items(data.rows, num_threads=task.threads)
        made.save_index(str(folder / "index"))

    folder, built["hnswlib"] = cached(task, versioned("hnswlib", "hnswlib"), build)
    index = hnswlib.Index(space, data.rows.shape[1])
    index.load_index(str(folder / "index"), max_elements=len(data.rows))
    flags = None if task.allowed is None else task.allowed.tolist()
    chosen = None if flags is None else flags.__getitem__

    def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
        index.set_ef(width)
        try:
            return list(index.knn_query(queries, k=task.k, num_threads=1, filter=chosen)[0].astype(np.int64))
        except RuntimeError:  # fewer than k were found: its only way to say so
            return [np.empty(0, dtype=np.int64)] * len(queries)

    return Contender("hnswlib", beams(task.k), search)


def usearch_peer(task: Task, built: dict[str, Built]) -> Contender:
    """HNSW of the same M and efConstruction, float32."""
    import usearch.index

    data = task.data

    def empty() -> Any:
        return usearch.index.Index(
            ndim=data.rows.shape[1],
            metric="l2sq" if data.metric == "l2" else "ip",
            dtype="f32",
            connectivity=LINKS,
            expansion_add=CONSTRUCTION,
            enable_key_lookups=False,
        )

    def build(folder: Path) -> None:
        made = empty()
        made.add(np.arange(len(data.rows), dtype=np.uint64), data.rows, threads=task.threads)
        made.save(str(folder / "index"))

    folder, built["usearch"] = cached(task, versioned("usearch", "usearch"), build)
    index = empty()
    index.load(str(folder / "index"))

    def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
        index.expansion_search = width
        found = index.search(queries, task.k, threads=1)
        keys = np.atleast_2d(found.keys)
        return list(keys.astype(np.int64))

    return Contender("usearch", beams(task.k), search)


def svs_peer(task: Task, built: dict[str, Built]) -> Contender:
    """Its Vamana graph over float32 rows."""
    import svs

    data, distance = task.data, svs.L2 if task.data.metric == "l2" else svs.MIP
    parts = ("config", "graph", "data")

    def build(folder: Path) -> None:
        parameters = svs.VamanaBuildParameters(alpha=ALPHAS[data.metric], graph_max_degree=DEGREE, window_size=WINDOW)
        made = svs.Vamana.build(parameters, data.rows, distance, num_threads=task.threads)
        made.save(*(str(folder / part) for part in parts))

    folder, built["svs"] = cached(task, versioned("svs", "svs"), build)
    config, graph, rows = (str(folder / part) for part in parts)
    loaders = svs.GraphLoader(graph), svs.VectorDataLoader(rows, svs.float32)
    index = svs.Vamana(config, *loaders, distance, num_threads=1)

    def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
        index.search_window_size = width
        return list(index.search(queries, task.k)[0].astype(np.int64))

    return Contender("svs", beams(task.k), search)


def scann_peers(task: Task, built: dict[str, Built]) -> Iterator[Contender]:
    """Brute force, and its tree with anisotropic hashing, whose best k x 4 are scored on float32 rows."""
    import scann

    data, count = task.data, len(task.data.rows)
    distance = "squared_l2" if data.metric == "l2" else "dot_product"
    leaves = max(1, round(2.0 * count**0.5))

    def build(folder: Path) -> None:
        builder = scann.scann_ops_pybind.builder(data.rows, task.k, distance).set_n_training_threads(task.threads)
        builder = builder.tree(leaves, max(1, leaves // 20), training_sample_size=min(count, 250_000))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(4 * task.k)
        builder.build().serialize(str(folder))

    def asked(searcher: Any, parameters: Any) -> Search:
        def search(queries: np.ndarray, width: int) -> list[np.ndarray]:
            if len(queries) == 1:
                return [
                    searcher.search(queries[0], final_num_neighbors=task.k, **parameters(width))[0].astype(np.int64)
                ]
            return list(
                searcher.search_batched(queries, final_num_neighbors=task.k, **parameters(width))[0].astype(int)
            )

        return search

    brute = scann.scann_ops_pybind.builder(data.rows, task.k, distance).set_n_training_threads(1)
    yield Contender("scann_brute", [0], asked(brute.score_brute_force().build(), lambda width: {}), exact=True)
    if task.batch > 1 or not task.wants("scann_tree"):
        return
    folder, built["scann_tree"] = cached(task, versioned("scann_tree", "scann"), build)
    searcher = scann.scann_ops_pybind.load_searcher(str(folder))
    probes = [one for one in PROBES if one <= leaves]
    tree = asked(searcher, lambda width: {"leaves_to_search": width, "pre_reorder_num_neighbors": max(4 * task.k, 200)})
    yield Contender("scann_tree", probes, tree)


def peers(task: Task, built: dict[str, Built]) -> Iterator[Contender]:
    """All that are installed and can do the task. ``built`` gets how long each index took."""
    yield numpy_exact(task)
    present = set(MODULES) - set(missing())
    if "faiss" in present:
        yield from faiss_peers(task, built)
    if "hnswlib" in present and task.batch == 1 and task.wants("hnswlib"):
        yield hnswlib_peer(task, built)
    if "scann" in present and task.allowed is None:
        yield from scann_peers(task, built)
    for name, peer in (("usearch", usearch_peer), ("svs", svs_peer)):
        if name in present and task.allowed is None and task.batch == 1 and task.wants(name):
            yield peer(task, built)
