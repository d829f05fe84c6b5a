"""A store as deterministic JSON lines, so that two builds can be compared with ``diff``.

Epoch number and LMDB's own bytes are left out: the first tells the age, the second depends on how pages were split.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator

import msgspec

from mixline.storage.catalogue import Catalogue
from mixline.storage.epoch import Epoch
from mixline.storage.records import RECORDS


def dump(epoch: Epoch) -> Iterator[bytes]:
    """One JSON object a line: the schema, every array with its digest, every item, user and history."""
    manifest = msgspec.to_builtins(epoch.manifest)
    files = manifest.pop("files")
    del manifest["number"]
    yield _line({"manifest": manifest})
    for name in sorted(files):
        if not name.startswith(RECORDS):
            yield _line({"file": name, **files[name]})
    yield from _catalogue(epoch.items)
    for row, line in enumerate(_catalogue(epoch.users)):
        yield line
        history = epoch.history(row)
        events = [history.rows.tolist(), history.times.tolist(), history.actions.tolist()]
        yield _line({"history": row, "rows": events[0], "times": events[1], "actions": events[2]})
    for table in ("item_ids", "user_ids"):
        digest = hashlib.sha256()
        for key, value in epoch.records.scan(table):
            digest.update(len(key).to_bytes(2, "little") + bytes(key) + bytes(value))
        yield _line({"table": table, "sha256": digest.hexdigest()})


def _catalogue(catalogue: Catalogue) -> Iterator[bytes]:
    for row in range(catalogue.count):
        record = catalogue.record(row) if catalogue.facts.columns else {}
        shown = {name: _plain(value) for name, value in record.items()}
        yield _line({"row": row, "of": catalogue.name, "id": catalogue.id_of(row), "record": shown})


def _plain(value: object) -> object:
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _line(facts: dict) -> bytes:
    return msgspec.json.encode(facts, order="deterministic") + b"\n"
