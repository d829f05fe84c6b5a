"""NODE.toml and the surface files: read strictly, every problem found at once, each with its file and key.

A surface is data: lists of components, each a typed declaration (:mod:`mixline.node.components`). Whether it fits a
store is asked later, by the engine; this module needs none.
"""

from __future__ import annotations

import contextlib
import tomllib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from mixline.ipc.wire import TENANT_BYTES
from mixline.node import limits
from mixline.node.components import KINDS, Component, stage_of
from mixline.node.components.custom import load_custom
from mixline.node.errors import ConfigError
from mixline.node.experiments import Experiment, Experiments, Holdout, experiment_faults
from mixline.node.metrics_door import MetricsError, metrics_address
from mixline.node.names import nearest
from mixline.node.parameters import Parameter
from mixline.node.serve_options import CompactionOptions, JournalOptions, ShadowOptions, WarmOptions
from mixline.node.surface_params import Template, faults_of, made_with_defaults, template_of

T = TypeVar("T", bound=msgspec.Struct)
BIND_DEFAULT = "tcp://127.0.0.1:5571"
STAGES = ("query_hydrator", "source", "hydrator", "filter", "scorer", "selector", "side_effect")


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """One surface: components by stage, in the order of the file."""

    name: str
    file: str
    deadline_ms: float = 100.0
    limit: int = 25
    unknown_user: Literal["cold", "error"] = "cold"
    paging: bool = False
    min_coverage: float = 0.0
    digest: str = ""  # of the table in its file
    components: dict[str, tuple[Component, ...]]
    params: dict[str, Parameter] = {}
    experiments: Experiments | None = None
    templates: dict[tuple[str, int], Template] = {}  # of components that name parameters, by stage and place


class SurfaceKeys(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The keys of a surface file above its components."""

    name: str
    deadline_ms: float = 100.0
    limit: int = 25
    unknown_user: Literal["cold", "error"] = "cold"
    paging: bool = False
    min_coverage: float = 0.0
    description: str = ""
    params: dict[str, Parameter] = {}
    experiment: list[Experiment] = []
    holdout: Holdout | None = None


class NodeKeys(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The keys of NODE.toml."""

    bind: list[str] = msgspec.field(default_factory=lambda: [BIND_DEFAULT])
    workers: int = 0
    surfaces: str = ""
    log: Literal["text", "json"] = "text"
    hedge: bool = True
    share_scans: bool = True
    tenants: dict[str, Any] = {}
    metrics: str = ""
    warm: WarmOptions | None = None
    compaction: CompactionOptions | None = None
    journal: JournalOptions = JournalOptions()
    shadow: ShadowOptions | None = None


class Shadowed(msgspec.Struct, frozen=True):
    """The surfaces of another NODE.toml, for a share of the requests."""

    share: float
    config: NodeConfig


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A whole, checked configuration. ``workers`` 0 means one per core less one for the broker."""

    bind: list[str]
    workers: int
    surfaces: dict[str, Surface]
    log: Literal["text", "json"] = "text"
    hedge: bool = True
    share_scans: bool = True
    tenants: dict[str, float] = {}
    metrics: str = ""
    warm: WarmOptions | None = None
    compaction: CompactionOptions | None = None
    journal: JournalOptions = JournalOptions()
    shadow: Shadowed | None = None
    file: str = ""  # NODE.toml, as an absolute path; empty for the defaults


_kept: dict[str | None, NodeConfig] = {}


def load_node_config(path: str | Path | None = None) -> NodeConfig:
    """Read NODE.toml (None: defaults) and all surfaces; :class:`ConfigError` with every problem found."""
    problems: list[str] = []
    keys = NodeKeys()
    folder: Path | None = None
    if path is not None:
        file = Path(path)
        table = read_toml(file, problems)
        read = convert(table, NodeKeys, str(file), problems) if table is not None else None
        keys = read or keys
        if keys.surfaces:
            folder = file.parent / keys.surfaces
        problems += [f"{file}: {problem}" for problem in node_problems(keys)]
    warm = keys.warm
    if warm is not None and warm.replay:
        recorded = Path(path or "").parent / warm.replay
        warm = msgspec.structs.replace(warm, replay=str(recorded.absolute()))
        if not recorded.is_file():
            problems.append(f"{path}: warm.replay = {keys.warm.replay!r}: {recorded} is not a file")  # type: ignore[union-attr]
    shadow = shadow_of(keys.shadow, path, problems)
    surfaces = {surface.name: surface for surface in shipped_surfaces(problems)}
    if folder is not None:
        if not folder.is_dir():
            problems.append(f"{path}: surfaces = {keys.surfaces!r}: {folder} is not a folder")
        surfaces |= {surface.name: surface for surface in read_surfaces(sorted(folder.glob("*.toml")), problems)}
    if problems:
        raise ConfigError(problems)
    return NodeConfig(
        bind=keys.bind,
        workers=keys.workers,
        surfaces=surfaces,
        log=keys.log,
        hedge=keys.hedge,
        share_scans=keys.share_scans,
        tenants={name: float(weight) for name, weight in keys.tenants.items()},
        metrics=keys.metrics,
        warm=warm,
        compaction=keys.compaction,
        shadow=shadow,
        journal=journal_beside(keys.journal, path),
        file="" if path is None else str(Path(path).absolute()),
    )


def shadow_of(told: ShadowOptions | None, file: str | Path | None, problems: list[str]) -> Shadowed | None:
    """The other configuration, read; what is wrong with it is wrong with this one."""
    if told is None or file is None:
        return None
    other = Path(file).parent / told.config
    if not 0 < told.share <= 1:
        problems.append(f"{file}: shadow.share = {told.share}: must lie above 0 and not above 1")
    if (read_toml(other, problems) or {}).get("shadow") is not None:
        problems.append(f"{other}: shadow: a shadow has none")
        return None
    try:
        return Shadowed(told.share, load_node_config(other))
    except ConfigError as error:
        problems += error.problems
        return None


def journal_beside(told: JournalOptions, file: str | Path | None) -> JournalOptions:
    """Its folder as a path from anywhere; the one that NODE.toml names is from its own folder on."""
    if not told.path or file is None:
        return told
    return msgspec.structs.replace(told, path=str((Path(file).parent / told.path).absolute()))


def keep_node_config(path: str | None) -> None:
    """Parse now what :func:`node_config` gives later, here and in the processes that are forked from this one.

    What is wrong is left for them to say, and so are the user's own components: their modules may start threads.
    """
    _kept.clear()  # what a nursery has from the one that bore it
    if path is not None and names_own_components(Path(path)):
        path = None  # still loads what parsing needs
    with contextlib.suppress(ConfigError):
        _kept[path] = load_node_config(path)


def kept_node_config(path: str | None) -> NodeConfig | None:
    """The configuration as it was kept; None when it is for the workers to read."""
    return _kept.get(path)


def node_config(path: str | None) -> NodeConfig:
    """The configuration as this process's nursery read it, else as it is on disk now."""
    return kept_node_config(path) or load_node_config(path)


def names_own_components(file: Path) -> bool:
    """Whether a surface of this NODE.toml has a component by dotted path; False for what cannot be read."""
    folder = (read_toml(file, []) or {}).get("surfaces")
    if not isinstance(folder, str) or not folder:
        return False
    tables = [read_toml(surface, []) or {} for surface in (file.parent / folder).glob("*.toml")]
    stages = [table[stage] for table in tables for stage in STAGES if isinstance(table.get(stage), list)]
    return any("." in str(entry.get("kind")) for stage in stages for entry in stage if isinstance(entry, dict))


def node_problems(keys: NodeKeys) -> Iterator[str]:
    """All that is wrong with the values of NODE.toml."""
    if not 0 <= keys.workers < limits.workers_max:
        yield f"workers = {keys.workers}: must lie in 0 .. {limits.workers_max - 1}"
    if len(keys.tenants) > limits.tenants_max:
        yield f"tenants: {len(keys.tenants)} names, at most {limits.tenants_max} have a share of their own"
    for name, weight in keys.tenants.items():
        if not name.isascii() or not name.isprintable() or not 0 < len(name) <= TENANT_BYTES:
            yield f"tenants.{name!r}: a name has 1 to {TENANT_BYTES} ASCII characters"
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            yield f"tenants.{name} = {weight!r}: a weight is a number above 0"
    if (fold := keys.compaction) is not None:
        if fold.operations < 0 or not 0 <= fold.every_hours < float("inf"):
            yield "compaction: operations and every_hours are numbers of at least 0"
        if not fold.operations and not fold.every_hours:
            yield "compaction: with operations and every_hours both 0 it would never be due; leave the table out"
        if fold.keep < 1:
            yield f"compaction.keep = {fold.keep}: at least 1"
    told = keys.journal
    if not 1 <= told.file_mb <= told.total_mb:
        yield f"journal: file_mb = {told.file_mb:g} and total_mb = {told.total_mb:g}: at least 1, and no file above all"
    if keys.metrics:
        try:
            metrics_address(keys.metrics)
        except MetricsError as error:
            yield str(error)


def shipped_surfaces(problems: list[str]) -> list[Surface]:
    """The surfaces inside the package."""
    with resources.as_file(resources.files("mixline.node") / "surfaces") as folder:
        return read_surfaces(sorted(folder.glob("*.toml")), problems)


def read_surfaces(files: Iterable[Path], problems: list[str]) -> list[Surface]:
    """Parse files; those with problems are left out and the problems noted. A name may stand only once."""
    found: dict[str, Surface] = {}
    for file in files:
        table = read_toml(file, problems)
        surface = parse_surface(table, str(file), problems) if table is not None else None
        if surface is not None and surface.name in found:
            problems.append(f"{file}: name = {surface.name!r}: also the name of {found[surface.name].file}")
        elif surface is not None:
            found[surface.name] = surface
    return list(found.values())


def read_toml(file: Path, problems: list[str]) -> dict[str, Any] | None:
    """The table in a file, or None with the reason noted."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{file}: {error}")
        return None


def convert(table: Mapping[str, Any], kind: type[T], where: str, problems: list[str]) -> T | None:
    """``table`` as ``kind``; unknown keys are all named, with the nearest known one, before types are looked at."""
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    unknown = [key for key in table if key not in known]
    problems += [f"{where}: unknown key {key!r}{nearest(key, known)}" for key in unknown]
    try:
        return msgspec.convert({key: value for key, value in table.items() if key in known}, kind)
    except msgspec.ValidationError as error:
        problems.append(f"{where}: {error}")
        return None


def parse_surface(table: dict[str, Any], file: str, problems: list[str]) -> Surface | None:
    """One surface table; None when anything is wrong with it."""
    before = len(problems)
    keys = convert({k: v for k, v in table.items() if k not in STAGES}, SurfaceKeys, file, problems)
    components: dict[str, tuple[Component, ...]] = {}
    params = keys.params if keys is not None else {}
    templates: dict[tuple[str, int], Template] = {}
    names: dict[str, str] = {}
    for stage in STAGES:
        entries = table.get(stage, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            problems.append(f"{file}: {stage}: write a table [[{stage}]] for each component")
            continue
        parsed: list[Component | None] = []
        for at, entry in enumerate(entries):
            make = partial(parse_component, stage=stage, file=Path(file), at=at)
            template = template_of(entry, make) if params else None
            if template is None:
                parsed.append(make(entry, problems=problems))
                continue
            templates[stage, at] = template
            parsed.append(made_with_defaults(template, f"{file}: {stage}[{at}]", params, problems))
        components[stage] = tuple(one for one in parsed if one is not None)
        for one in components[stage]:
            if stage in ("source", "scorer") and one.name in names:
                problems.append(f"{file}: {stage} {one.name!r}: the name is taken by a {names[one.name]}")
            names.setdefault(one.name, stage)
    if len(components.get("source", ())) > 64:
        problems.append(f"{file}: {len(components['source'])} sources; at most 64 fit the source bitmask")
    if keys is None or len(problems) > before:
        return None
    if not keys.name.isascii() or not 0 < len(keys.name) <= 32:
        problems.append(f"{file}: name = {keys.name!r}: 1 to 32 ASCII characters")
    if not 1 <= keys.limit <= limits.limit_max:
        problems.append(f"{file}: limit = {keys.limit}: must lie in 1 .. {limits.limit_max}")
    if not 0 < keys.deadline_ms <= limits.budget_max_us / 1000:
        problems.append(f"{file}: deadline_ms = {keys.deadline_ms}: must lie in 0 .. {limits.budget_max_us / 1000}")
    if not 0 <= keys.min_coverage <= 1:
        problems.append(f"{file}: min_coverage = {keys.min_coverage}: a share of the sources lies in 0 .. 1")
    problems += [f"{file}: {fault}" for fault in faults_of(params, components)]
    problems += [f"{file}: {fault}" for fault in experiment_faults(keys.experiment, keys.holdout, params)]
    if len(problems) > before:
        return None
    return Surface(
        name=keys.name,
        file=file,
        deadline_ms=keys.deadline_ms,
        limit=keys.limit,
        unknown_user=keys.unknown_user,
        paging=keys.paging,
        min_coverage=keys.min_coverage,
        digest=digest_of(table),
        components=components,
        params=params,
        experiments=Experiments(keys.experiment, keys.holdout) if keys.experiment else None,
        templates=templates,
    )


def digest_of(table: dict[str, Any]) -> str:
    """Eight hexadecimal digits that another declaration would hardly have."""
    return f"{zlib.crc32(repr(table).encode()):08x}"


def parse_component(entry: dict[str, Any], problems: list[str], stage: str, file: Path, at: int) -> Component | None:
    """One component table by its ``kind``: a shipped one, or a user's own class by dotted path."""
    where = f"{file}: {stage}[{at}]"
    kind = entry.get("kind")
    if not isinstance(kind, str):
        problems.append(f"{where}: needs kind, one of {', '.join(sorted(KINDS[stage])) or 'your own dotted path'}")
        return None
    declared: type[Component] | None = KINDS[stage].get(kind)
    if declared is None and "." in kind:
        try:
            declared = load_custom(kind)
        except (ImportError, AttributeError, TypeError) as error:
            problems.append(f"{where}: kind = {kind!r}: {error}")
            return None
        if stage_of(declared) != stage:
            problems.append(f"{where}: kind = {kind!r} is a {stage_of(declared)}, not a {stage}")
            return None
    if declared is None:
        problems.append(f"{where}: unknown kind {kind!r}{nearest(kind, KINDS[stage])}")
        return None
    component = convert({"name": kind, **entry}, declared, f"{where} ({kind})", problems)
    if component is not None:
        paths = {key: str((file.parent / getattr(component, key)).absolute()) for key in declared.files}
        component = msgspec.structs.replace(component, **paths) if paths else component
        problems += [f"{where} ({kind}): {problem}" for problem in component.wrong()]
    return component
