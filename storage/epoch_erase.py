"""An epoch without some of its users: the same rows of everything else, linked, and the users' files written anew.

Their rows stay, since all others keep their numbers, and are nobody's: with ids that were drawn, without record,
history, seen items, values or vectors. What was learnt from everybody's events together stays as it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from mixline.storage.arrays import map_array, write_array
from mixline.storage.askers import ASKERS, PARTS
from mixline.storage.carried import CARRIED, carries, read_carried, write_carried
from mixline.storage.columns import MISSING
from mixline.storage.epoch import Epoch
from mixline.storage.ids import order_keys
from mixline.storage.log_rewrite import without_user
from mixline.storage.manifest import KEPT
from mixline.storage.past_queries import ACTED, ACTED_PARTS, keys_of_queries
from mixline.storage.records import RECORDS, TABLES, RecordWriter, row_key
from mixline.storage.snapshot_files import place
from mixline.storage.strings import StringTableWriter

STRANGE_BYTES = 8  # of an id that is drawn


Fresh = Callable[[str], Path]  # the path of a file of the new epoch that is not linked


def erase_users(epoch: Epoch, rows: np.ndarray, target: Path) -> set[str]:
    """Write ``epoch`` without the users of ``rows`` (ascending) into the empty folder ``target``; returns the names of
    the files that differ."""
    changed: set[str] = set()

    def fresh(name: str) -> Path:
        changed.add(name)
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    drawn = erase_ids(epoch, rows, fresh)
    erase_columns(epoch, rows, fresh)
    erase_vectors(epoch, rows, fresh)
    erase_seen(epoch, rows, fresh)
    erase_events(epoch, rows, fresh)
    erase_carried(epoch, rows, fresh)
    erase_queries(epoch, rows, fresh)
    erase_records(epoch, rows, drawn, fresh(f"{RECORDS}/data.mdb").parent.parent)
    for name in epoch.manifest.files:
        if name not in changed:
            place(epoch.path / name, target / name, link=True)
    return changed


def erase_ids(epoch: Epoch, rows: np.ndarray, fresh: Fresh) -> list[bytes]:
    """Give the rows ids that nobody has; returns their UTF-8 where ids are strings."""
    users = epoch.users
    keys, known = np.array(users.keys), set(users.keys.tolist())
    strings: list[bytes] = []
    for row in rows.tolist():
        while True:
            drawn = secrets.token_hex(STRANGE_BYTES).encode()
            key = int(order_keys([drawn])[0]) if users.id_kind == "str" else secrets.randbits(64)
            if key not in known:
                break
        known.add(key)
        keys[row] = key
        strings.append(drawn)
    order = np.argsort(keys, kind="stable")
    write_array(fresh("ids/users/keys.npy"), keys)
    write_array(fresh("ids/users/sorted_keys.npy"), keys[order])
    write_array(fresh("ids/users/sorted_rows.npy"), order.astype("<u4"))
    if users.id_kind != "str":
        return []
    offsets, data = np.array(users.strings.offsets), users.strings.data
    parts, end = [], 0
    for row, drawn in zip(rows.tolist(), strings, strict=True):
        parts += [data[end : int(offsets[row])], np.frombuffer(drawn, dtype=np.uint8)]
        end = int(offsets[row + 1])
    lengths = np.diff(offsets)
    lengths[rows] = 2 * STRANGE_BYTES
    write_array(fresh("ids/users/bytes.npy"), np.concatenate([*parts, data[end : int(offsets[-1])]]))
    write_array(fresh("ids/users/offsets.npy"), np.concatenate(([0], np.cumsum(lengths))).astype("<u8"))
    return strings


def without_spans(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and offsets when these rows have none."""
    lengths = np.diff(offsets)
    kept = np.repeat(~np.isin(np.arange(len(lengths)), rows), lengths.astype(np.int64))
    lengths[rows] = 0
    ends = np.concatenate((offsets[:1] * 0, np.cumsum(lengths))).astype(offsets.dtype)
    return np.asarray(values)[: len(kept)][kept], ends


def erase_columns(epoch: Epoch, rows: np.ndarray, fresh: Fresh) -> None:
    """Missing values, and labels that nobody else has."""
    users = epoch.users
    if "f32" in users.facts.columns.values():
        name = "columns/users/interleaved.f32.npy"
        matrix = np.array(map_array(epoch.path / name))
        matrix[rows] = np.nan
        write_array(fresh(name), matrix)
    for name, kind in users.facts.columns.items():
        if kind not in MISSING or kind == "f32":
            continue
        column, where = users.columns[name], f"columns/users/{name}"
        if column.offsets is None:
            values = np.array(column.values)
            gone = values[rows]
            values[rows] = column.missing
        else:
            offsets = np.array(column.offsets)
            gone = np.concatenate([column.values[offsets[row] : offsets[row + 1]] for row in rows.tolist()])
            values, ends = without_spans(column.values, offsets, rows)
            write_array(fresh(f"{where}.offsets.npy"), ends)
        write_array(fresh(f"{where}.npy"), values)
        own = np.setdiff1d(gone, values)
        own = own[own < len(column.labels)].tolist()
        if kind in ("category", "tags") and own:
            drawn = {code: secrets.token_hex(STRANGE_BYTES) for code in own}
            fresh(f"{where}.labels.bytes.npy")
            writer = StringTableWriter(fresh(f"{where}.labels.offsets.npy").parent, f"{name}.labels.")
            writer.extend([drawn.get(code, label) for code, label in enumerate(column.labels)])
            writer.close()


def erase_vectors(epoch: Epoch, rows: np.ndarray, fresh: Fresh) -> None:
    """Zeros."""
    for name, space in epoch.spaces.items():
        if space.users is None or space.user_norms is None:
            continue
        every = (rows.astype(np.int64)[:, None] * space.vectors + np.arange(space.vectors)).ravel()
        for file, values in (("users", space.users), ("user_norms", space.user_norms)):
            left = np.array(values)
            left[every] = 0
            write_array(fresh(f"spaces/{name}/{file}.npy"), left)


def erase_seen(epoch: Epoch, rows: np.ndarray, fresh: Fresh) -> None:
    """Nothing seen."""
    if epoch.manifest.events is None:
        return
    ends, seen = (f"graph/seen_{name}.npy" for name in ("indptr", "rows"))
    values, left = without_spans(map_array(epoch.path / seen), np.array(map_array(epoch.path / ends)), rows)
    write_array(fresh(seen), values)
    write_array(fresh(ends), left)
    acted = epoch.acted
    if acted is not None:
        kept = ~np.isin(acted.users, rows)
        before = np.concatenate(([0], np.cumsum(kept)))
        write_array(fresh("graph/seen_by_users.npy"), np.asarray(acted.users)[kept])
        write_array(fresh("graph/seen_by_indptr.npy"), before[acted.item_ends])


def erase_events(epoch: Epoch, rows: np.ndarray, fresh: Fresh) -> None:
    """No events kept; what was counted of items stays."""
    ends = f"{KEPT}/indptr.npy"
    if not (epoch.path / ends).exists():
        return
    indptr = np.array(map_array(epoch.path / ends))
    for path in sorted((epoch.path / KEPT).glob("*.npy")):
        if path.name != "indptr.npy":
            values, left = without_spans(map_array(path), indptr, rows)
            write_array(fresh(f"{KEPT}/{path.name}"), values)
    write_array(fresh(ends), left)


def erase_carried(epoch: Epoch, rows: np.ndarray, fresh: Fresh) -> None:
    """No blocks, grants or events of items that are gone."""
    if not carries(epoch.path):
        return
    batches = read_carried(epoch.path)
    for user in np.asarray(epoch.users.ids_of(rows)).tolist():
        batches = [without_user(batch, user) for batch in batches]
    write_carried(fresh(CARRIED).parent, batches)


def erase_queries(epoch: Epoch, rows: np.ndarray, fresh: Fresh) -> None:
    """Not among those who asked what is not public; what nobody else asked is there no more."""
    askers, completions, acted = epoch.askers, epoch.completions, epoch.acted_on
    if askers is None or not (own := np.isin(askers.users, rows)).any():
        return
    left = askers._replace(keys=askers.keys[~own], users=askers.users[~own])
    left.write(folder := fresh(f"text/{ASKERS}.public.npy").parent)
    for name in PARTS:
        fresh(f"text/{ASKERS}.{name}.npy")
    gone = np.setdiff1d(askers.keys[own], left.keys)
    if completions is not None and len(gone):
        queries = completions.queries.to_list()
        for at in np.flatnonzero(np.isin(keys_of_queries(queries), gone)).tolist():
            queries[at] = secrets.token_hex(STRANGE_BYTES)
        fresh("text/queries.bytes.npy")
        writer = StringTableWriter(fresh("text/queries.offsets.npy").parent, "queries.")
        writer.extend(queries)
        writer.close()
    if acted is not None and len(gone):
        for name in ACTED_PARTS:
            fresh(f"text/{ACTED}.{name}.npy")
        acted.without(gone, folder)


def erase_records(epoch: Epoch, rows: np.ndarray, drawn: list[bytes], target: Path) -> None:
    """All tables copied but for these users: records of nothing, no history, and the new ids."""
    writer = RecordWriter(target)
    gone = {row_key(row) for row in rows.tolist()}
    old = {epoch.users.strings.raw(row) for row in rows.tolist()} if drawn else set()
    nothing = msgspec.msgpack.encode([None] * len(epoch.users.facts.columns))
    try:
        for table in TABLES:
            for key, value in epoch.records.scan(table):
                if (table == "user_ids" and key in old) or (table == "history" and key in gone):
                    continue
                writer.put(table, [(key, nothing if table == "users" and key in gone else value)], append=True)
        rows_of = zip(drawn, rows.tolist(), strict=False)
        writer.put("user_ids", ((new, row.to_bytes(4, "little")) for new, row in rows_of), append=False)
    finally:
        writer.close()
