"""The build specification: what the user's files are and what to make of them.

Decoded strictly and by hand, because a typo must be named with its key path and the nearest name, and because a user
wants to see all mistakes at once instead of one per run.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import msgspec

from mixline.storage.columns import BLOCKABLE
from mixline.storage.errors import BadSpec
from mixline.storage.manifest import ColumnKind, IdKind, Metric
from mixline.storage.spec_checks import (
    Check,
    above_zero,
    columns,
    flag,
    matrix,
    nearest,
    number,
    one_of,
    source,
    text,
    whole,
)
from mixline.storage.text_spec import TextSpec, read_text

NAME_MAX = 64
RESERVED = ("popularity",)


class TableSpec(msgspec.Struct, frozen=True):
    """[items] and [users]. ``id_kind`` None: from the file; ``creator``: the column that says who made an item."""

    path: str
    id: str
    columns: dict[str, str] = {}
    id_kind: str | None = None
    creator: str | None = None

    def wanted(self, section: str) -> dict[str, str]:
        """Key path of the specification -> column of the file."""
        return {f"{section}.id": self.id} | {f"{section}.columns.{name}": name for name in self.columns}


class EventsSpec(msgspec.Struct, frozen=True):
    """[events]; the bounds and defaults are those of docs/build.md."""

    path: str
    user: str
    item: str
    time: str | None = None
    action: str | None = None
    weight: str | None = None
    time_unit: str = "s"
    unknown: str = "error"
    user_kind: str | None = None
    half_life_days: float = 90.0
    history_max: int = 1000
    popular_max: int = 10_000
    neighbours_max: int = 100
    neighbours_history: int = 200

    def wanted(self) -> dict[str, str]:
        """Key path of the specification -> column of the file."""
        names = {"user": self.user, "item": self.item, "time": self.time, "action": self.action, "weight": self.weight}
        return {f"events.{key}": name for key, name in names.items() if name is not None}


class SpaceSpec(msgspec.Struct, frozen=True):
    """[spaces.NAME]: matrices, or ``learn``."""

    items: str | None = None
    users: str | None = None
    metric: str = "dot"
    index: str = "auto"
    learn: str | None = None
    rotate: bool = False
    dim: int | None = None
    iterations: int = 15
    regularization: float = 0.01
    alpha: float = 1.0
    seed: int = 0


class BuildSpec(msgspec.Struct, frozen=True):
    """A whole specification; paths are relative to ``folder``."""

    folder: Path
    items: TableSpec
    users: TableSpec | None
    events: EventsSpec | None
    spaces: dict[str, SpaceSpec]
    text: TextSpec | None = None

    def at(self, path: str) -> Path:
        return self.folder / path


TABLE: dict[str, Check] = {"path": source, "id": text, "columns": columns, "id_kind": one_of(*get_args(IdKind))}
ITEMS = TABLE | {"creator": text}
EVENTS: dict[str, Check] = {
    "path": source,
    "user": text,
    "item": text,
    "time": text,
    "action": text,
    "weight": text,
    "time_unit": one_of("s", "ms", "us", "ns"),
    "unknown": one_of("error", "skip"),
    "user_kind": one_of(*get_args(IdKind)),
    "half_life_days": above_zero,
    "history_max": whole(1, 100_000),
    "popular_max": whole(1, 10_000_000),
    "neighbours_max": whole(0, 10_000),
    "neighbours_history": whole(2, 10_000),
}
SPACE: dict[str, Check] = {
    "items": matrix,
    "users": matrix,
    "metric": one_of(*get_args(Metric)),
    "index": one_of("auto", "exact", "ivf", "graph"),
    "rotate": flag,
    "learn": one_of("als"),
    "dim": whole(1, 16_384),
    "iterations": whole(1, 10_000),
    "regularization": number(0.0),
    "alpha": above_zero,
    "seed": whole(0, (1 << 31) - 1),
}
TOP = ("items", "users", "events", "spaces", "text")
LEARNING = ("iterations", "regularization", "alpha", "seed")


class SpecReader:
    """Collects all faults of one file; :meth:`spec` gives the specification or raises with the list."""

    def __init__(self, raw: dict, path: Path) -> None:
        self.raw = raw
        self.path = path
        self.faults: list[str] = []

    def fault(self, key: str, what: str) -> None:
        self.faults.append(f"{key}: {what}")

    def section(self, key: str, raw: object, checks: dict[str, Check], required: tuple[str, ...]) -> dict:
        """The entries of one table that passed their checks."""
        if not isinstance(raw, dict):
            self.fault(key, "must be a table")
            return {}
        for name in raw:
            if name not in checks:
                self.fault(f"{key}.{name}", f"unknown key{nearest(name, checks)}")
        for name in required:
            if name not in raw:
                self.fault(f"{key}.{name}", "is missing")
        good = {}
        for name, check in checks.items():
            if name in raw:
                wrong = check(raw[name])
                if wrong:
                    self.fault(f"{key}.{name}", wrong)
                else:
                    good[name] = raw[name]
        return good

    def name(self, key: str, name: str) -> None:
        if not (name.isidentifier() and name.isascii() and len(name) <= NAME_MAX):
            self.fault(key, f"a name is ASCII letters, digits and _, not first a digit, at most {NAME_MAX} long")

    def table(self, key: str) -> TableSpec | None:
        if key not in self.raw:
            return None
        good = self.section(key, self.raw[key], ITEMS if key == "items" else TABLE, ("path", "id"))
        for name, kind in good.get("columns", {}).items():
            self.name(f"{key}.columns.{name}", name)
            if name in RESERVED:
                self.fault(f"{key}.columns.{name}", "this name is taken: the build writes that column itself")
            wrong = one_of(*get_args(ColumnKind))(kind)
            if wrong:
                self.fault(f"{key}.columns.{name}", wrong)
        creator, declared = good.get("creator"), good.get("columns", {})
        if creator is not None and creator not in declared:
            self.fault(
                f"{key}.creator", f"is {creator!r}, which is not declared in columns{nearest(creator, declared)}"
            )
        elif creator is not None and declared[creator] not in BLOCKABLE:
            kinds = ", ".join(BLOCKABLE)
            self.fault(f"{key}.creator", f"names a column of kind {declared[creator]}; it must be one of {kinds}")
        return TableSpec(**good) if {"path", "id"} <= good.keys() else None

    def events(self) -> EventsSpec | None:
        if "events" not in self.raw:
            return None
        good = self.section("events", self.raw["events"], EVENTS, ("path", "user", "item"))
        for name in ("half_life_days", "time_unit"):
            if name in good and "time" not in good:
                self.fault(f"events.{name}", "needs events.time")
        if "user_kind" in good and "users" in self.raw:
            self.fault("events.user_kind", "is for users that only the events name; here users.id_kind decides")
        return EventsSpec(**good) if {"path", "user", "item"} <= good.keys() else None

    def space(self, name: str, raw: object) -> SpaceSpec:
        key = f"spaces.{name}"
        self.name(key, name)
        good = self.section(key, raw, SPACE, ())
        present = raw if isinstance(raw, dict) else {}
        if "learn" in present:
            for other in ("items", "users"):
                if other in present:
                    self.fault(f"{key}.{other}", "a space is either given as matrices or learnt, not both")
            if "events" not in self.raw:
                self.fault(f"{key}.learn", "needs [events] to learn from")
            if "dim" not in present:
                self.fault(f"{key}.dim", "is missing: how many dimensions to learn")
        else:
            for other in LEARNING:
                if other in present:
                    self.fault(f"{key}.{other}", 'is for a learnt space; add learn = "als" or remove it')
            if "items" not in present and "users" not in present:
                self.fault(key, 'names neither matrices (items, users) nor learn = "als"')
            if "users" in present and "users" not in self.raw:
                self.fault(f"{key}.users", "needs a [users] file: the matrix's rows are in its order")
        return SpaceSpec(**good)

    def spec(self) -> BuildSpec:
        for name in self.raw:
            if name not in TOP:
                self.fault(name, f"unknown key{nearest(name, TOP)}")
        if "items" not in self.raw:
            self.fault("items", "is missing: every store has items")
        items, users, events = self.table("items"), self.table("users"), self.events()
        raw = self.raw.get("spaces", {})
        if not isinstance(raw, dict):
            self.fault("spaces", "must be a table of tables")
            raw = {}
        spaces = {name: self.space(name, one) for name, one in raw.items()}
        kinds = items.columns if items is not None else {}
        text_spec = read_text(self, self.raw.get("text", {}), kinds, "text" in self.raw)
        if self.faults or items is None:
            count = len(self.faults)
            listed = "\n  ".join(self.faults)
            raise BadSpec(f"{self.path}: {count} fault{'s' * (count > 1)} in the specification\n  {listed}")
        return BuildSpec(self.path.parent, items, users, events, spaces, text_spec)


def read_spec(path: Path) -> BuildSpec:
    """Read a TOML file; :class:`BadSpec` lists everything that is wrong with it."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadSpec(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path}: not TOML: {error}") from error
    return SpecReader(raw, path).spec()


def spec_facts(spec: BuildSpec) -> dict:
    """The specification with its defaults, as the manifest keeps it."""
    parts = {"items": spec.items, "users": spec.users, "events": spec.events, "spaces": spec.spaces, "text": spec.text}
    return msgspec.to_builtins(parts)
