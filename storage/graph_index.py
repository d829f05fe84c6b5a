"""A space's proximity graph: lists of neighbours, and int8 codes that lie row by row, since a walk goes anywhere.

What is coded is a row less the mean of all (for cosine of all directions), which leaves more of the bits to what tells
rows apart and changes no order. A row is scale x codes. For l2 the second factor is minus half the squared length of
the coded row, not of the row: then an estimate is the exact distance of the coded row, whose error grows with the
distance only, and not with the length of the query.

Rows are linked by Euclidean distance, for cosine that of directions. For dot each row has one dimension more while it
is linked, which brings all to one length, so that the nearest by distance is the greatest by product (Bachrach et al.,
Speeding up the Xbox recommender system, 2014): to the length that one row in a hundred passes, since the few longest
would make all others lie close together. The longest are entries, for most answers lie among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mixline.storage.arrays import ArrayWriter, chunk_rows, map_array, write_array
from mixline.storage.calibration import Exact, Search, calibrate, exact_scores, held_out, ladder, results_for
from mixline.storage.frames import PLAIN, Frame, open_frame
from mixline.storage.manifest import IndexFacts
from mixline.storage.progress import Progress

STEP, MOST = 32, 127
DIM_MAX = 1 << 16  # so that the sum of a row's products fits 32 bits
UNIT_BITS = (-126, 127)  # powers of two that are normal float32 numbers
DEGREE, WIDTH = 32, 96  # links of a row, and the beam that finds them
SLACK = 16  # more links that a row may have while it is linked
WIDTH_MAX = 4096  # tried in the calibration
QUERY_SEED = 4
ONE_LENGTH = 0.99  # of the rows are brought to one length for dot


class Graph(NamedTuple):
    """``neighbours`` uint32 (n, degree), a shorter list ends with the row itself; ``codes`` int8 (n, dim up to a
    multiple of 32); ``factors`` float32 (n, 2): scale, and for l2 minus half the squared length of scale x codes;
    ``entries`` uint32; ``center`` float32 (dim + 1,): the mean, and the unit that rows less the mean were divided by;
    ``signs`` of the space's frame, by which they were turned then.
    """

    neighbours: np.ndarray
    codes: np.ndarray
    factors: np.ndarray
    entries: np.ndarray
    center: np.ndarray
    signs: np.ndarray = PLAIN.signs


class Link(Protocol):
    """``kernels.graph_build.link``."""

    def __call__(
        self,
        codes: np.ndarray,
        factors: np.ndarray,
        degree: int,
        *,
        width: int,
        slack: int,
        threads: int,
        advance: Callable[[int], object],
    ) -> tuple[np.ndarray, np.ndarray]: ...


Walk = Callable[[Graph, np.ndarray, str, np.ndarray, int], Search]
"""(graph, matrix, metric, norms, k) -> a search for the best k on the graph, scored on the matrix."""


def need_bytes(count: int, threads: int) -> int:
    """What linking ``count`` rows holds: all links twice at the end, once without slack; factors, orders, lengths; the
    edges of a round; and a mark a row for each thread."""
    return count * (4 * (DEGREE + SLACK) + 4 * DEGREE + 72) + threads * count // 8


def chunks(matrix: np.ndarray, metric: str) -> Iterator[np.ndarray]:
    """The rows, for cosine their directions, as float64, some at a time."""
    step = chunk_rows(32 * matrix.shape[1])
    for at in range(0, len(matrix), step):
        exact = matrix[at : at + step].astype(np.float64)
        if metric == "cosine":
            lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
            exact /= np.where(lengths == 0, 1.0, lengths)[:, None]
        yield exact


def find_center(matrix: np.ndarray, metric: str) -> np.ndarray:
    """The mean, float32, and a power of two that no row less the mean passes (by more than its double)."""
    count, dim = matrix.shape
    mean = np.zeros(dim)
    for exact in chunks(matrix, metric):
        mean += (exact / count).sum(axis=0)
    mean = mean.astype("<f4")
    greatest = max((float(np.abs(exact - mean).max()) for exact in chunks(matrix, metric)), default=0.0)
    power = np.clip(np.ceil(np.log2(greatest)), *UNIT_BITS) if greatest > 0.0 else 0.0
    return np.append(mean, np.exp2(power)).astype("<f4")


def encode_rows(
    exact: np.ndarray, center: np.ndarray, frame: Frame = PLAIN
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes int8 (n, width), scales float32 and squared lengths of scale x codes, of rows as :func:`chunks` gives."""
    count, dim = exact.shape
    left = frame.turned.place((exact - center[:dim]) / np.float64(center[dim]))
    scales = (np.abs(left).max(axis=1, initial=0.0) / MOST).astype("<f4")
    wide = scales.astype(np.float64)[:, None]
    codes = np.zeros((count, -(-dim // STEP) * STEP), dtype="<i1")
    codes[:, :dim] = np.rint(left / np.where(wide == 0, 1.0, wide)).clip(-MOST, MOST) * (wide != 0)
    coded = codes * wide
    return codes, scales, np.einsum("ij,ij->i", coded, coded)


def link_factors(scales: np.ndarray, squared: np.ndarray, metric: str) -> np.ndarray:
    """What :class:`Link` wants of each row, float32 (n, 4)."""
    beyond = np.zeros(len(scales))
    if metric == "dot" and len(scales):
        beyond = np.sqrt(np.maximum(np.quantile(squared, ONE_LENGTH) - squared, 0.0))
    return np.stack([scales, (squared + beyond * beyond) / -2.0, beyond, 0.0 * beyond], axis=1).astype("<f4")


def write_graph(
    folder: Path, metric: str, link: Link, walk: Walk, exact: Exact, threads: int, progress: Progress
) -> tuple[IndexFacts, ...]:
    """Make the graph of the items that lie in ``folder``, and measure it at each k; nothing beyond DIM_MAX."""
    matrix, norms = map_array(folder / "items.npy"), map_array(folder / "item_norms.npy")
    count, dim = matrix.shape
    if dim > DIM_MAX:
        return ()
    at, frame = files(folder), open_frame(folder)
    center = find_center(matrix, metric)
    scales, squared = np.empty(count, dtype="<f4"), np.empty(count)
    done = 0
    with ArrayWriter(at.codes, "<i1", -(-dim // STEP) * STEP) as codes:
        for exact_rows in chunks(matrix, metric):
            here = slice(done, done + len(exact_rows))
            part, scales[here], squared[here] = encode_rows(exact_rows, center, frame)
            codes.append(part)
            done = here.stop
    bias = squared / -2.0 if metric == "l2" else np.zeros(count)
    write_array(at.center, center)
    write_array(at.factors, np.stack([scales, bias], axis=1).astype("<f4"))
    linked = link(
        map_array(at.codes),
        link_factors(scales, squared, metric),
        DEGREE,
        width=WIDTH,
        slack=SLACK,
        threads=threads,
        advance=progress.advance,
    )
    entries = linked[1]
    if metric == "dot":
        longest = np.argsort(-squared, kind="stable")[: len(entries)].astype(np.uint32)
        entries = np.union1d(entries, longest)
    write_array(at.neighbours, linked[0])
    write_array(at.entries, entries)
    parameters = {"degree": DEGREE, "width": WIDTH, "entries": len(entries)}
    if not count:
        return (IndexFacts("graph", parameters, 0, ()),)
    users = folder / "users.npy"
    queries = held_out(matrix, map_array(users) if users.exists() else None, QUERY_SEED)
    truth = exact_scores(exact, matrix, queries, metric, norms, results_for(count)[-1])
    graph = open_graph(folder)
    assert graph is not None
    found = []
    for k in results_for(count):
        search, wanted = walk(graph, matrix, metric, norms, k), [scores[:k] for scores in truth]
        points = calibrate(search, queries, wanted, ladder(k, max(k, min(count, WIDTH_MAX))))
        found.append(IndexFacts("graph", parameters, k, points))
    return tuple(found)


def remove_graph(folder: Path) -> None:
    """Undo :func:`write_graph`."""
    for one in files(folder):
        one.unlink()


def open_graph(folder: Path) -> Graph | None:
    """Map what :func:`write_graph` wrote; None where there is nothing."""
    at = files(folder)
    if not at.center.exists():
        return None
    return Graph(*(map_array(one) for one in at))._replace(signs=open_frame(folder).signs)


class GraphFiles(NamedTuple):
    """In the order of :class:`Graph`, whose last part is the space's."""

    neighbours: Path
    codes: Path
    factors: Path
    entries: Path
    center: Path


def files(folder: Path) -> GraphFiles:
    """Where the parts of the items' graph lie."""
    return GraphFiles(*(folder / f"items_graph_{part}.npy" for part in GraphFiles._fields))
