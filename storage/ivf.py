"""Inverted lists (IVF) of a space's items: each row lies in the list of its nearest centroid, and a search goes over
the lists whose centroids are nearest to the query.

The lists hold int8 codes of the items a second time, in list order: a list must be read in one go, and an exact scan
wants the rows where the float32 rows are. For l2 they are codes of the rows less the mean of all, which changes no
distance: pixels lie far from the origin and near to each other, and a step of their codes is wider than that. Norms are
then those of the coded rows, so that an estimate is the exact distance of the coded row, and errs by as much as that
lies off and not by as much as the query is long. Of n rows a build keeps a few integers each in memory, and no vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mixline.storage.arrays import ArrayWriter, chunk_rows, map_array, write_array
from mixline.storage.calibration import POOLS, RESULTS, Exact, calibrate, exact_scores, held_out, ladder, results_for
from mixline.storage.clusters import Assign, directions, nearest, train
from mixline.storage.codes import BLOCK_ROWS, QUAD, Codes, encode, open_codes
from mixline.storage.frames import PLAIN, Frame, open_frame
from mixline.storage.manifest import IndexFacts
from mixline.storage.middles import add_up
from mixline.storage.progress import Progress

ABSENT = 0xFFFFFFFF  # the row of a place that only fills up a block
AUTO_ROWS = 1 << 16  # fewer are scanned in less time than an index is worth
LIST_ROWS = 16  # at least, on average: a block
UNIT_MAX = 1e38
STEP = 1 << 17  # rows, whatever the cores: sums of other parts would have other bits
SEED = 0
# Rows kept of k; beyond the first where int8 tells neighbours badly: rows far from the origin and near to each other.
KEEP_PERCENT = (100, 125, 200, 400, 800, 1600)
SPARE = 16
TOLD = 0.995  # of recall over a quarter of the lists is enough
TRIED = 50  # queries
NO_LISTS = np.zeros(0, dtype="<u4")
NO_SPREADS = np.zeros(0, dtype="<f4")

MakeSearch = Callable[..., Any]
"""What makes a ``kernels.ivf.ListSearch``."""


class Lists(NamedTuple):
    """In the order in which a ``ListSearch`` takes them.

    ``centroids`` int8 (blocks of 16, quads, 16, 4) with ``centroid_scales`` and ``centroid_norms`` float32; list l has
    blocks ``starts[l] .. starts[l + 1]`` of ``codes`` int8 (blocks, quads, 16, 4). By place: ``scales`` float32,
    ``rows`` uint32 (ABSENT for none), and ``norms`` float32 with l2 (empty otherwise). With l2 all vectors are less
    ``center`` float32 (dim,), which is empty otherwise, and norms are those of what the codes stand for. All codes are
    of vectors turned by ``signs``, those of the space's frame. ``lists_of`` uint32 (n,): the list of each row.
    ``spreads`` float32 (lists,), by dot alone: how far the rows of a list are from its centroid, the root of the mean
    square of a dimension. Both are empty in epochs from before they were written.
    """

    centroids: np.ndarray
    centroid_scales: np.ndarray
    centroid_norms: np.ndarray
    starts: np.ndarray
    codes: np.ndarray
    scales: np.ndarray
    rows: np.ndarray
    norms: np.ndarray
    center: np.ndarray
    signs: np.ndarray = PLAIN.signs
    lists_of: np.ndarray = NO_LISTS
    spreads: np.ndarray = NO_SPREADS


def is_wanted(index: str, count: int) -> bool:
    """Whether a space of ``count`` items whose specification says ``index`` gets lists."""
    return count > 0 and (index == "ivf" or (index == "auto" and count >= AUTO_ROWS))


def lists_for(count: int) -> int:
    """How many: the power of two nearest to 4 roots of the rows; centroids and probed lists then cost about as much."""
    return min(1 << round(np.log2(4.0 * count**0.5)), max(1, count // LIST_ROWS))


def build_ivf(
    folder: Path, metric: str, assign: Assign, make_search: MakeSearch, exact: Exact, progress: Progress, name: str
) -> tuple[IndexFacts, ...]:
    """Write the lists of the items in ``folder``, whose codes are there already; nothing for items that have no codes.

    What is returned are the facts of the same lists at each k that they are measured at.
    """
    if open_codes(folder, "items") is None:
        return ()
    items, norms = map_array(folder / "items.npy"), map_array(folder / "item_norms.npy")
    lists = lists_for(len(items))
    progress.phase(f"clustering {name}", len(items))
    center = middle_of(items) if metric == "l2" else np.empty(0, dtype="<f4")
    centroids = train(assign, items, lists, SEED, unit=metric == "cosine", center=center)
    found, centroids, spreads = assign_all(assign, items, norms, centroids, center, metric, progress)
    progress.phase(f"listing {name}", len(items))
    write_array(folder / "ivf_center.npy", center)
    write_array(folder / "ivf_spreads.npy", spreads)
    write_centroids(folder, centroids, metric, open_frame(folder).turned)
    write_lists(folder, found, lists, center, progress)
    progress.phase(f"calibrating {name}")
    return tuple(measure(folder, items, norms, metric, lists, make_search, exact, progress))


def measure(
    folder: Path,
    items: np.ndarray,
    norms: np.ndarray,
    metric: str,
    lists: int,
    make_search: MakeSearch,
    exact: Exact,
    progress: Progress,
) -> Iterator[IndexFacts]:
    """What the lists in ``folder`` find at which width, for each k."""
    users = folder / "users.npy"
    queries = held_out(items, map_array(users) if users.exists() else None, SEED)
    truth = [
        *exact_scores(exact, items, queries[:TRIED], metric, norms, results_for(len(items), POOLS)[-1]),
        *exact_scores(exact, items, queries[TRIED:], metric, norms, results_for(len(items))[-1]),
    ]
    opened = open_lists(folder)
    assert opened is not None
    keys = np.arange(len(items), dtype=np.uint64)
    searcher = make_search(*opened, matrix=items, keys=keys, matrix_norms=norms, metric=metric)
    for k in results_for(len(items), POOLS):
        many = TRIED if k > RESULTS[-1] else len(queries)  # of so long a list each tells as much as several
        wanted = [scores[:k] for scores in truth[:many]]
        facts = IndexFacts("ivf", {"lists": lists, "keep_percent": 0}, k, ())
        for percent in KEEP_PERCENT:
            facts.parameters["keep_percent"] = percent

            def search(
                query: np.ndarray, width: int, k: int = k, keep: int = keep_for(facts, k)
            ) -> tuple[np.ndarray, int]:
                scores = searcher.search(query, k, width, keep=keep)[1]
                progress.advance(1)
                return scores, lists + searcher.scored

            [(_, recall, _)] = calibrate(search, queries[:TRIED], wanted[:TRIED], [-(-lists // 4)])
            if recall >= TOLD:
                break
        yield msgspec.structs.replace(facts, points=calibrate(search, queries[:many], wanted, ladder(1, lists)))


def keep_for(facts: IndexFacts, k: int) -> int:
    """How many rows a search for the best ``k`` must keep for its second look."""
    return k * facts.parameters["keep_percent"] // 100 + SPARE


def middle_of(items: np.ndarray) -> np.ndarray:
    """The mean of all rows, float32 (dim,)."""
    mean = np.zeros(items.shape[1])
    for at in range(0, len(items), STEP):
        mean += (items[at : at + STEP].astype(np.float64) / len(items)).sum(axis=0)
    return mean.astype("<f4")


def assign_all(
    assign: Assign,
    items: np.ndarray,
    norms: np.ndarray,
    centroids: np.ndarray,
    center: np.ndarray,
    metric: str,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The list of every row, uint32 (n,), the middles of all lists, and their spreads.

    With middles lists are ranked better than with the centroids of the sample, above all short lists and by dot. With
    spreads too, by dot: it is not the middle of a list that is among the best. By cosine centroids are directions, and
    a wide list, whose middle is short, gains by that already; by l2 it helped nowhere.
    """
    found = np.empty(len(items), dtype=np.uint32)
    sums, counts = np.zeros(centroids.shape), np.zeros(len(centroids), dtype=np.int64)
    squares = np.zeros(len(centroids))
    for at in range(0, len(items), STEP):
        here = slice(at, at + STEP)
        rows, units = items[here] - center if len(center) else items[here], None
        if metric == "cosine":
            with np.errstate(divide="ignore", over="ignore"):
                units = np.minimum(1.0 / norms[here], np.float32(UNIT_MAX))
        found[here] = nearest(assign, rows, centroids, units)
        add_up(sums, counts, rows if units is None else directions(rows), found[here])
        squares += np.bincount(found[here], norms[here].astype(np.float64) ** 2, len(squares))
        progress.advance(len(rows))
    middles = np.where(counts[:, None], sums / np.maximum(counts, 1)[:, None], centroids).astype(np.float32)
    spreads = spreads_of(middles, squares / np.maximum(counts, 1)) if metric == "dot" else NO_SPREADS
    return found, directions(middles) if metric == "cosine" else middles, spreads


def spreads_of(middles: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """Of lists with these middles, and mean squared lengths of their rows; 0 where it does not fit a float32."""
    apart = squared - np.einsum("ij,ij->i", middles, middles, dtype=np.float64)
    spreads = np.sqrt(np.maximum(apart, 0.0) / middles.shape[1])
    return np.where(spreads < UNIT_MAX, spreads, 0.0).astype("<f4")


def write_centroids(folder: Path, centroids: np.ndarray, metric: str, frame: Frame) -> None:
    """Their codes, and the norms of these for l2, of the centroids themselves otherwise."""
    codes = encode(centroids, metric, frame)
    write_array(folder / "ivf_centroids_int8.npy", codes.codes.reshape(len(codes.codes), -1))
    write_array(folder / "ivf_centroids_scales.npy", codes.scales)
    norms = np.sqrt(np.einsum("ij,ij->i", centroids, centroids, dtype=np.float64)).astype("<f4")
    write_array(folder / "ivf_centroids_norms.npy", coded_norms(codes)[: len(norms)] if metric == "l2" else norms)


def coded_norms(codes: Codes) -> np.ndarray:
    """Lengths of what the codes stand for, float32 (16 x blocks,); whole numbers before they are scaled."""
    squares = (codes.codes.astype(np.int32) ** 2).sum(axis=(1, 3), dtype=np.int64)
    return (np.sqrt(squares.reshape(-1)) * codes.scales.astype(np.float64)).astype("<f4")


def places_of(found: np.ndarray, lists: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the lists' blocks start, uint32 (lists + 1,), and the row of each place; a list fills up its last block."""
    counts = np.bincount(found, minlength=lists)
    starts = np.concatenate([[0], np.cumsum(-(-counts // BLOCK_ROWS))]).astype("<u4")
    order = np.argsort(found, kind="stable").astype("<u4")
    rows = np.full(BLOCK_ROWS * int(starts[-1]), ABSENT, dtype="<u4")
    before = np.cumsum(counts) - counts
    rows[np.arange(len(found)) + np.repeat(BLOCK_ROWS * starts[:-1].astype(np.int64) - before, counts)] = order
    return starts, rows


def write_lists(folder: Path, found: np.ndarray, lists: int, center: np.ndarray, progress: Progress) -> None:
    """Rows, codes, scales and norms in list order, rows of one list in their own. With a ``center`` the rows less it
    are coded, otherwise the codes that are there are copied."""
    codes, items, frame = open_codes(folder, "items"), map_array(folder / "items.npy"), open_frame(folder).turned
    assert codes is not None
    starts, rows = places_of(found, lists)
    write_array(folder / "ivf_starts.npy", starts)
    write_array(folder / "ivf_rows.npy", rows)
    write_array(folder / "ivf_lists.npy", found.astype("<u4"))
    quads = codes.codes.shape[1]
    step = -(-chunk_rows((32 if len(center) else 1) * QUAD * quads) // BLOCK_ROWS) * BLOCK_ROWS
    with (
        ArrayWriter(folder / "ivf_int8.npy", "<i1", BLOCK_ROWS * QUAD * quads) as coded,
        ArrayWriter(folder / "ivf_scales.npy", "<f4") as scales,
        ArrayWriter(folder / "ivf_norms.npy", "<f4") as norms,
    ):
        for at in range(0, len(rows), step):
            here = rows[at : at + step]
            none = here == ABSENT
            part = coded_anew(items, center, frame, here) if len(center) else copied(codes, here)
            coded.append(part.codes.reshape(len(part.codes), -1))
            scales.append(part.scales)
            if len(center):
                norms.append(np.where(none, np.float32(np.inf), coded_norms(part)))
            progress.advance(len(here) - int(none.sum()))


def coded_anew(items: np.ndarray, center: np.ndarray, frame: Frame, here: np.ndarray) -> Codes:
    """Codes of these rows of ``items`` less the center; of ABSENT zeros."""
    none = here == ABSENT
    rows = items[np.where(none, 0, here)] - center
    rows[none] = 0.0
    return encode(rows, "l2", frame)


def copied(codes: Codes, here: np.ndarray) -> Codes:
    """The codes of these rows as they are; of ABSENT zeros. Without bounds."""
    none = here == ABSENT
    row = np.where(none, 0, here)
    words = codes.codes.view("<i4")[..., 0]  # the codes of a quad of one row
    part = words[row // BLOCK_ROWS, :, row % BLOCK_ROWS]
    part[none] = 0
    blocks = np.ascontiguousarray(part.reshape(-1, BLOCK_ROWS, part.shape[1]).transpose(0, 2, 1))
    scales = np.where(none, np.float32(0.0), codes.scales[row])
    return Codes(blocks.view("<i1").reshape(*blocks.shape, QUAD), scales, codes.bounds[:0])


def open_lists(folder: Path) -> Lists | None:
    """Map what :func:`build_ivf` wrote; None where there is nothing."""
    if not (folder / "ivf_center.npy").exists():
        return None
    centroids, codes = map_array(folder / "ivf_centroids_int8.npy"), map_array(folder / "ivf_int8.npy")
    lists_of, spreads = folder / "ivf_lists.npy", folder / "ivf_spreads.npy"
    return Lists(
        centroids.reshape(len(centroids), -1, BLOCK_ROWS, QUAD),
        map_array(folder / "ivf_centroids_scales.npy"),
        map_array(folder / "ivf_centroids_norms.npy"),
        map_array(folder / "ivf_starts.npy"),
        codes.reshape(len(codes), -1, BLOCK_ROWS, QUAD),
        map_array(folder / "ivf_scales.npy"),
        map_array(folder / "ivf_rows.npy"),
        map_array(folder / "ivf_norms.npy"),
        map_array(folder / "ivf_center.npy"),
        open_frame(folder).signs,
        map_array(lists_of) if lists_of.exists() else NO_LISTS,
        map_array(spreads) if spreads.exists() else NO_SPREADS,
    )
