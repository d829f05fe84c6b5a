"""What an epoch must show before it becomes the active one: that it opens, and that its parts fit each other.

Digests say that the files are those that were built. This says that what was built can be read: a sample of rows of
every table and array, ids found again, rows looked for among others, codes that stand for their rows. It takes
milliseconds, whatever the epoch's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from mixline.storage.arrays import map_array
from mixline.storage.catalogue import Catalogue
from mixline.storage.codes import BLOCK_ROWS, Codes, decode
from mixline.storage.epoch import Epoch
from mixline.storage.errors import StorageError, StoreDamaged
from mixline.storage.item_times import map_item_times
from mixline.storage.manifest import KEPT
from mixline.storage.neighbours import Bipartite
from mixline.storage.records import TABLES
from mixline.storage.spaces import Space
from mixline.storage.text_builder import PADDING
from mixline.storage.text_index import TextIndex

SAMPLE = 64
RECORDS_READ = 3  # of every table
FILLER = 0xFFFFFFFF
SLACK = 1e-4  # relative, for sums in another order


def self_test(folder: Path) -> None:
    """Raise :class:`StoreDamaged` with every fault of the epoch in ``folder``."""
    try:
        with Epoch(folder) as epoch:
            faults = list(faults_of_epoch(epoch))
    except StorageError as error:
        raise StoreDamaged(f"epoch {folder.name} does not open: {error}") from error
    except (IndexError, ValueError, TypeError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise StoreDamaged(f"epoch {folder.name} cannot be read: {type(error).__name__}: {error}") from error
    if faults:
        listed = "\n  ".join(faults)
        raise StoreDamaged(f"epoch {folder.name} failed its self-test:\n  {listed}\nactivate another, or build again")


def faults_of_epoch(epoch: Epoch) -> Iterator[str]:
    """Everything that does not fit in a sample of the epoch."""
    for table in TABLES:
        for _ in islice(epoch.records.scan(table), RECORDS_READ):
            pass
    yield from catalogue_faults(epoch.items)
    yield from catalogue_faults(epoch.users)
    yield from event_faults(epoch)
    for space in epoch.spaces.values():
        yield from space_faults(space, epoch.items.count, epoch.users.count)
    if epoch.text is not None:
        yield from text_faults(epoch.text)


def text_faults(text: TextIndex) -> Iterator[str]:
    """Terms that are not found again, and lists that do not lie in their file one after the other."""
    for name, lengths in zip(text.names, text.lengths, strict=True):
        if len(lengths) != text.count:
            yield f"text/{name}.lengths.npy: {len(lengths)} entries for {text.count} rows"
    for dictionary in (text.terms, text.words):
        for at in sample_of(len(dictionary)).tolist() if dictionary is not None else ():
            assert dictionary is not None
            ((word, *facts),) = dictionary.words(at, at + 1)
            if dictionary.find(word) != tuple(facts):
                yield f"text: {word!r} is not found again"
            if dictionary is text.terms and not 0 < facts[0] <= text.count:
                yield f"text: {word!r} is in {facts[0]} of {text.count} rows"
    if len(text.terms):
        ((_, _, start, size, places),) = text.terms.words(len(text.terms) - 1)
        if start + size + PADDING != len(text.lists) or places > len(text.positions):
            yield "text/postings.npy: does not end with the last list"


def sample_of(count: int) -> np.ndarray:
    """Rows spread over 0 .. count - 1, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(np.int64)) if count else np.zeros(0, np.int64)


def those_with_vectors(rows: np.ndarray, given: np.ndarray | None, each: int = 1) -> np.ndarray:
    """Of the rows of a matrix those whose owners, who have ``each``, the bitmap ``given`` names (None: all)."""
    if given is None:
        return rows
    owners = rows // each
    return rows[given[owners // 64] >> (owners % 64).astype(np.uint64) & np.uint64(1) != 0]


def catalogue_faults(catalogue: Catalogue) -> Iterator[str]:
    """Ids that are not found again, records and columns of another length."""
    rows, name = sample_of(catalogue.count), catalogue.name
    if len(catalogue.keys) != catalogue.count:
        yield f"ids/{name}: {len(catalogue.keys)} keys for {catalogue.count} rows"
        return
    for row in rows.tolist():
        if catalogue.row_of(catalogue.id_of(row)) != row:
            yield f"ids/{name}: the id of row {row} is found in another row"
        if catalogue.facts.columns and len(catalogue.record(row)) != len(catalogue.facts.columns):
            yield f"records.lmdb: row {row} of {name} lacks columns"
    for column in catalogue.columns.values():
        entries = len(column.values) if column.offsets is None else len(column.offsets) - 1
        if entries != catalogue.count:
            yield f"columns/{name}/{column.name}: {entries} entries for {catalogue.count} rows"
        elif column.offsets is not None and int(column.offsets[-1]) != len(column.values):
            yield f"columns/{name}/{column.name}: offsets end at {int(column.offsets[-1])} of {len(column.values)}"
        else:
            column.to_list(rows)


def event_faults(epoch: Epoch) -> Iterator[str]:
    """Rows of items that do not exist, and orders that are not kept."""
    items = epoch.items.count
    for user in sample_of(epoch.users.count).tolist():
        seen = epoch.seen(user)
        if len(seen) and (int(seen[-1]) >= items or not (seen[1:] > seen[:-1]).all()):
            yield f"graph/seen_rows.npy: user {user}: not ascending rows of items"
        rows = epoch.history(user).rows
        if len(rows) and int(rows.max()) >= items:
            yield f"records.lmdb: history of user {user}: a row that no item has"
    popular = epoch.popularity
    if len(popular.rows) and (int(popular.rows.max()) >= items or not (np.diff(popular.scores) <= 0).all()):
        yield "graph/popular_rows.npy: not rows of items by falling score"
    yield from kept_event_faults(epoch)
    if epoch.item_times is not None:
        yield from item_time_faults(epoch)
    if epoch.acted is not None:
        yield from acted_faults(epoch, epoch.acted)
    neighbours = epoch.neighbours
    if neighbours is not None:
        if len(neighbours.indptr) != items + 1 or int(neighbours.indptr[-1]) != len(neighbours.indices):
            yield "graph/neighbours_indptr.npy: does not fit the lists"
            return
        for row in sample_of(items).tolist():
            found = neighbours.indices[neighbours.indptr[row] : neighbours.indptr[row + 1]]
            if len(found) and int(found.max()) >= items:
                yield f"graph/neighbours_indices.npy: item {row}: a row that no item has"


def kept_event_faults(epoch: Epoch) -> Iterator[str]:
    """Columns of the events that a fold goes by: of one length, by user, of items that exist."""
    kept = {path.stem: map_array(path) for path in sorted((epoch.path / KEPT).glob("*.npy"))}
    if not kept:
        return  # no events, or an epoch of an earlier release
    indptr, rows = kept.pop("indptr"), kept["item"]
    if len(indptr) != epoch.users.count + 1 or int(indptr[-1]) != len(rows) or not (np.diff(indptr) >= 0).all():
        yield f"{KEPT}/indptr.npy: does not fit the users, or the events"
    for name, column in kept.items():
        if len(column) != len(rows):
            yield f"{KEPT}/{name}.npy: {len(column)} entries for {len(rows)} events"
    if len(rows) and int(rows[sample_of(len(rows))].max()) >= epoch.items.count:
        yield f"{KEPT}/item.npy: a row that no item has"


def acted_faults(epoch: Epoch, acted: Bipartite) -> Iterator[str]:
    """Lists that do not fit, and users that have nothing to do with the item: a walk would leave the graph."""
    ends, users = acted.item_ends, acted.users
    if len(ends) != epoch.items.count + 1 or int(ends[-1]) != len(users) or not (np.diff(ends) >= 0).all():
        yield "graph/seen_by_indptr.npy: does not fit the items"
        return
    for item in sample_of(epoch.items.count).tolist():
        found = users[ends[item] : ends[item + 1]]
        if len(found) and int(found.max()) >= epoch.users.count:
            yield f"graph/seen_by_users.npy: item {item}: a row that no user has"
        elif any(item not in epoch.seen(user) for user in found[:: max(1, len(found) // 4)].tolist()):
            yield f"graph/seen_by_users.npy: item {item}: a user who did not act on it"


def item_time_faults(epoch: Epoch) -> Iterator[str]:
    """Lists that do not fit, and times that do not rise. That the last ends with the next array was seen at opening."""
    indptr, _, starts, times = map_item_times(epoch.path)
    if len(indptr) != epoch.items.count + 1 or not (np.diff(indptr) >= 0).all():
        yield "graph/item_indptr.npy: does not fit the items"
        return
    for pair in sample_of(len(starts) - 1).tolist():
        found = times[starts[pair] : starts[pair + 1]]
        if not len(found) or not (found[1:] >= found[:-1]).all():
            yield f"graph/item_times.npy: list {pair}: no rising times"


def space_faults(space: Space, items: int, users: int) -> Iterator[str]:
    """Matrices of another shape than the manifest's, and indexes that do not fit them."""
    where = f"spaces/{space.name}"
    for side, matrix, norms, given, count in (
        ("items", space.items, space.item_norms, space.item_given, items),
        ("users", space.users, space.user_norms, space.user_given, users * space.vectors),
    ):
        if matrix is None or norms is None:
            continue
        if matrix.shape != (count, space.dim) or norms.shape != (count,):
            yield f"{where}/{side}.npy: {matrix.shape} and norms {norms.shape} for {count} rows of {space.dim}"
            return
        rows = those_with_vectors(sample_of(count), given, space.vectors if side == "users" else 1)
        lengths = np.sqrt(np.einsum("ij,ij->i", matrix[rows], matrix[rows], dtype=np.float64))
        if not np.isfinite(lengths).all() or not np.allclose(lengths, norms[rows], rtol=SLACK, atol=1e-30):
            yield f"{where}/{side}.npy: rows that are not finite or not as long as their norms say"
    if space.items is None:
        return
    yield from nearest_faults(space, where)
    if space.item_codes is not None:
        yield from code_faults(space, space.item_codes, where)
    lists, graph, nibbles = space.item_lists, space.item_graph, space.item_nibbles
    if nibbles is not None and len(nibbles.codes) * BLOCK_ROWS < items:
        yield f"{where}/items_int4.npy: too short for {items} rows"
    if lists is not None:
        starts, kept = lists.starts, lists.rows[sample_of(len(lists.rows))]
        if not (starts[1:] >= starts[:-1]).all() or int(starts[-1]) != len(lists.codes):
            yield f"{where}/ivf_starts.npy: does not fit the lists"
        if len(lists.rows) != BLOCK_ROWS * len(lists.codes) or bool(((kept >= items) & (kept != FILLER)).any()):
            yield f"{where}/ivf_rows.npy: a row that no item has"
        if len(lists.lists_of) not in (0, items):
            yield f"{where}/ivf_lists.npy: {len(lists.lists_of)} rows instead of {items}"
        if len(lists.spreads) not in (0, len(starts) - 1):
            yield f"{where}/ivf_spreads.npy: {len(lists.spreads)} lists instead of {len(starts) - 1}"
    if graph is not None:
        linked = graph.neighbours[sample_of(items)]
        if len(graph.neighbours) != items or int(linked.max(initial=0)) >= max(1, items):
            yield f"{where}/items_graph_neighbours.npy: a row that no item has"
        if int(graph.entries.max(initial=0)) >= max(1, items):
            yield f"{where}/items_graph_entries.npy: a row that no item has"


def nearest_faults(space: Space, where: str) -> Iterator[str]:
    """Of a sample of rows each must find itself, or one as near, as the nearest of all."""
    assert space.items is not None
    rows = space.items[those_with_vectors(sample_of(len(space.items)), space.item_given)].astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not len(rows) or space.metric == "dot":
        return
    if space.metric == "cosine":
        unit = rows / np.where(lengths == 0, 1.0, lengths)[:, None]
        scores = unit @ unit.T
    else:
        scores = -((rows[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2)
    own = np.diagonal(scores)
    slack = SLACK * max(1.0, float(np.abs(scores).max()))
    if not np.isfinite(scores).all() or bool((scores.max(axis=1) > own + slack).any()):
        yield f"{where}/items.npy: a row that does not find itself"


def code_faults(space: Space, codes: Codes, where: str) -> Iterator[str]:
    """Int8 codes that stand for other rows than the bounds of their block allow."""
    assert space.items is not None
    count, dim = space.items.shape
    if len(codes.codes) != -(-count // BLOCK_ROWS) or len(codes.scales) != BLOCK_ROWS * len(codes.codes):
        yield f"{where}/items_int8.npy: {len(codes.codes)} blocks for {count} rows"
        return
    if space.metric == "l2" and len(space.code_norms if space.code_norms is not None else ()) != count:
        yield f"{where}/items_int8_norms.npy: not {count} norms"
        return
    if len(space.frame.center) not in (0, dim) or (len(space.frame.signs) and space.frame.signs.shape[1] != dim):
        yield f"{where}/codes_center.npy, codes_signs.npy: not of {dim} dimensions"
        return
    for block in np.unique(sample_of(count) // BLOCK_ROWS).tolist():
        start = block * BLOCK_ROWS
        exact = np.nan_to_num(space.items[start : start + BLOCK_ROWS].astype(np.float64))
        if space.metric == "cosine":
            lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
            exact /= np.where(lengths == 0, 1.0, lengths)[:, None]
        exact = space.frame.place(exact)
        part = Codes(codes.codes[block : block + 1], codes.scales[start : start + BLOCK_ROWS], codes.bounds)
        left = exact - decode(part, len(exact), dim)
        worst = float(np.sqrt(np.einsum("ij,ij->i", left, left)).max(initial=0.0))
        if worst > float(codes.bounds[block, 0]) * (1 + SLACK) + SLACK * float(np.abs(exact).max(initial=0.0)):
            yield f"{where}/items_int8.npy: block {block} stands for other rows"
