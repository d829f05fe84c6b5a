"""What a load is made of: asks drawn from a file's lists, or Zipf-wise from a store's own users and items.

Every ask is prepared before the first shot, with its deadline written into it, so that node and report count to the
same one. What is drawn is repeated in its order when a run is longer than the draw.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np

from mixline.node.config import Surface
from mixline.node.errors import BadRequest
from mixline.node.request import Id, Prepared, prepare
from mixline.storage.epoch import Epoch

DRAWN = 20_000
EX_DATAERR = 65


class MixError(click.ClickException):
    """A traffic mix that cannot be used; says the file, the place in it, and what is wrong."""

    exit_code = EX_DATAERR


class MixEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One ``[[ask]]``: where a list is given, each ask takes one of it. Weights are relative."""

    surface: str
    weight: float = 1.0
    user: Id | None = None
    item: Id | None = None
    query: str | None = None
    users: list[Id] = []
    items: list[Id] = []
    queries: list[str] = []
    limit: int | None = None
    limits: list[int] = []
    params: dict[str, bool | int | float | str] | None = None
    fields: list[str] | None = None
    priority: int = 128
    priorities: list[int] = []
    tenant: str = ""
    tenants: list[str] = []
    deadline_ms: float | None = None


class MixFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A TOML mix."""

    ask: list[MixEntry]


class Mix(NamedTuple):
    """Prepared asks; ``order`` names one for each shot; ``deadlines_us`` and ``surfaces`` by prepared ask."""

    asks: list[Prepared]
    order: np.ndarray
    surfaces: list[str]
    deadlines_us: np.ndarray

    def which(self, count: int) -> np.ndarray:
        """The prepared ask of each of ``count`` shots."""
        return np.resize(self.order, count)

    def describe(self) -> dict[str, Any]:
        """For reports: shares of surfaces, and how often the most frequent ask occurs."""
        names, counts = np.unique(np.array(self.surfaces)[self.order], return_counts=True)
        return {
            "surfaces": {
                name: round(count / len(self.order), 4)
                for name, count in zip(names.tolist(), counts.tolist(), strict=True)
            },
            "distinct_asks": len(self.asks),
            "most_frequent": round(float(np.bincount(self.order).max() / len(self.order)), 4),
        }


def read_entries(file: Path) -> list[MixEntry]:
    """TOML (``[[ask]]`` tables), or JSON lines of the same keys; MixError names key or line."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MixError(f"{file}: {error}") from None
    if file.suffix == ".toml":
        try:
            entries = msgspec.convert(tomllib.loads(text), MixFile).ask
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise MixError(f"{file}: {error}; write [[ask]] tables, see docs/load.md") from None
    else:
        entries, decoder = [], msgspec.json.Decoder(MixEntry)
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    entries.append(decoder.decode(line))
                except (msgspec.ValidationError, msgspec.DecodeError) as error:
                    raise MixError(f"{file}:{number}: {error}") from None
    if not entries:
        raise MixError(f"{file}: no ask in it")
    for at, entry in enumerate(entries):
        if not entry.weight > 0 or not np.isfinite(entry.weight):
            raise MixError(f"{file}: ask[{at}]: weight = {entry.weight}: must be above 0")
        for one, many in (("user", "users"), ("item", "items"), ("query", "queries")):
            if getattr(entry, one) is not None and getattr(entry, many):
                raise MixError(f"{file}: ask[{at}]: give {one} or {many}, not both")
    return entries


def mix_from_file(file: Path, surfaces: Mapping[str, Surface], seed: int, drawn: int = DRAWN) -> Mix:
    """Draw asks by the weights of a mix file."""
    entries = read_entries(file)
    rng = np.random.default_rng(seed)
    weights = np.array([entry.weight for entry in entries])
    chosen = rng.choice(len(entries), drawn, p=weights / weights.sum())
    calls: list[dict[str, Any]] = []
    for at in chosen.tolist():
        entry = entries[at]
        calls.append(
            {
                "surface": entry.surface,
                "user": pick(rng, entry.users, entry.user),
                "item": pick(rng, entry.items, entry.item),
                "query": pick(rng, entry.queries, entry.query),
                "limit": pick(rng, entry.limits, entry.limit),
                "params": entry.params,
                "fields": entry.fields,
                "priority": pick(rng, entry.priorities, entry.priority),
                "tenant": pick(rng, entry.tenants, entry.tenant),
                "deadline_ms": entry.deadline_ms,
            }
        )
    return prepare_mix(calls, surfaces, str(file))


def pick(rng: np.random.Generator, many: Sequence[Any], one: Any) -> Any:
    """One of a list, or the single value where there is no list."""
    return many[int(rng.integers(len(many)))] if many else one


def mix_from_store(
    epoch: Epoch,
    shares: Mapping[str, float],
    surfaces: Mapping[str, Surface],
    zipf: float,
    seed: int,
    limit: int | None = None,
    drawn: int = DRAWN,
) -> Mix:
    """Users (or items, for surfaces whose sources ask by item) with frequencies that fall as rank ** -zipf."""
    rng = np.random.default_rng(seed)
    calls: list[dict[str, Any]] = []
    total = sum(shares.values())
    for name, share in shares.items():
        surface = known(name, surfaces, "--surface")
        by_item = any(getattr(source, "query", "") == "item" for source in surface.components["source"])
        catalogue, key = (epoch.items, "item") if by_item else (epoch.users, "user")
        if not catalogue.count:
            raise MixError(f"surface {name!r} asks by {key}, and the store has no {key}s")
        rows = zipf_rows(rng, catalogue.count, zipf, max(1, round(drawn * share / total)))
        ids = catalogue.ids_of(rows)
        calls += [
            {"surface": name, key: one, "limit": limit} for one in (ids if isinstance(ids, list) else ids.tolist())
        ]
    return prepare_mix([calls[at] for at in rng.permutation(len(calls)).tolist()], surfaces, "the store")


def zipf_rows(rng: np.random.Generator, count: int, exponent: float, drawn: int) -> np.ndarray:
    """uint32 rows, the k-th most frequent with weight k ** -exponent; which row that is, is drawn too."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(drawn), side="right")
    return rng.permutation(count).astype(np.uint32)[np.minimum(ranks, count - 1)]


def known(name: str, surfaces: Mapping[str, Surface], where: str) -> Surface:
    """The surface of this name; MixError lists those there are."""
    if name not in surfaces:
        raise MixError(f"{where}: no surface {name!r} (there are {', '.join(sorted(surfaces))}); --config names others")
    return surfaces[name]


def prepare_mix(calls: Sequence[dict[str, Any]], surfaces: Mapping[str, Surface], where: str) -> Mix:
    """Prepare each different ask once."""
    places: dict[Prepared, int] = {}
    order, names, deadlines_us = np.zeros(len(calls), np.uint32), [], []
    for at, call in enumerate(calls):
        name, deadline_ms = call["surface"], call.get("deadline_ms")
        deadline_ms = deadline_ms or known(name, surfaces, where).deadline_ms
        try:
            ask = prepare(**{**call, "deadline_ms": deadline_ms, "request_id": 0})
        except BadRequest as error:
            raise MixError(f"{where}: {error}") from None
        if ask not in places:
            places[ask] = len(places)
            names.append(name)
            deadlines_us.append(deadline_ms * 1000)
        order[at] = places[ask]
    return Mix(list(places), order, names, np.array(deadlines_us))
