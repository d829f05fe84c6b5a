"""Experiments of a surface: which users see which values of its parameters.

Nothing is stored: a user's place follows from a salt and the user's id alone, so it is the same in every worker, after
every restart, and in whatever program looks at the results. Experiments of one layer share its users out, those of
different layers cross.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mixline.node.draws import WHOLE, draw, unit_of
from mixline.node.parameters import Parameter, Value
from mixline.node.request import Id

HOLDOUT = "holdout"
NAME_BYTES_MAX = 40


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[experiment.arms.NAME]``: its part of the experiment's users, and the values that they get."""

    weight: float = 1.0
    params: dict[str, Value] = {}


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[experiment]]`` of a surface file. ``share``: of its layer's users; ``layer``: left out, one of its own.
    ``salt``: left out, its name. ``tenants``: left out, all. ``enabled = false`` stops it, and moves no other."""

    name: str
    share: float
    arms: dict[str, Arm]
    layer: str = ""
    salt: str = ""
    tenants: tuple[str, ...] | None = None
    enabled: bool = True

    @property
    def lies_in(self) -> str:
        return self.layer or self.name


class Holdout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[holdout]`` of a surface file: users that are in no experiment."""

    share: float
    salt: str = HOLDOUT


class Range(msgspec.Struct, frozen=True):
    """The part of a layer's draws that is an experiment's."""

    experiment: Experiment
    start: int
    stop: int


class Experiments:
    """Those of one surface."""

    def __init__(self, experiments: Sequence[Experiment], holdout: Holdout | None) -> None:
        self.holdout = holdout
        self.layers: dict[str, list[Range]] = {}
        begun: dict[str, float] = {}
        for one in experiments:
            start = begun.get(one.lies_in, 0.0)
            begun[one.lies_in] = stop = start + one.share
            place = Range(one, round(start * WHOLE), round(min(stop, 1.0) * WHOLE))
            self.layers.setdefault(one.lies_in, []).append(place)

    def arms_of(self, user: Id, tenant: str) -> tuple[dict[str, str], dict[str, Value]]:
        """(experiment -> arm, values of parameters) of a user; in a holdout ``{"holdout": ...}`` and no values."""
        unit = unit_of(user)
        if self.holdout is not None and draw(f"holdout:{self.holdout.salt}", unit) < self.holdout.share * WHOLE:
            return {HOLDOUT: self.holdout.salt}, {}
        assigned: dict[str, str] = {}
        values: dict[str, Value] = {}
        for layer, ranges in self.layers.items():
            at = draw(f"layer:{layer}", unit)
            for place in ranges:
                one = place.experiment
                if place.start <= at < place.stop and one.enabled and (one.tenants is None or tenant in one.tenants):
                    name = arm_of(one, unit)
                    assigned[one.name] = name
                    values.update(one.arms[name].params)
        return assigned, values


def arm_of(experiment: Experiment, unit: bytes) -> str:
    """The arm of one who takes part."""
    total = sum(arm.weight for arm in experiment.arms.values())
    at = draw(f"arm:{experiment.salt or experiment.name}", unit) / WHOLE * total
    name = ""
    for name, arm in experiment.arms.items():
        if at < arm.weight:
            return name
        at -= arm.weight
    return name


def experiment_faults(
    experiments: Sequence[Experiment], holdout: Holdout | None, parameters: Mapping[str, Parameter]
) -> Iterator[str]:
    """All that is wrong with them, by key."""
    if holdout is not None and not 0 <= holdout.share <= 1:
        yield f"holdout.share = {holdout.share}: must lie in 0 .. 1"
    shares: dict[str, float] = {}
    setters: dict[str, str] = {}
    names: set[str] = set()
    for one in experiments:
        where = f"experiment {one.name!r}"
        if one.name in names or one.name == HOLDOUT:
            yield f"{where}: the name is taken"
        names.add(one.name)
        for key, text in (("name", one.name), ("layer", one.lies_in), ("salt", one.salt)):
            if len(text.encode()) > NAME_BYTES_MAX or (key != "salt" and not text):
                yield f"{where}: {key} = {text!r}: 1 to {NAME_BYTES_MAX} bytes"
        if not 0 <= one.share <= 1:
            yield f"{where}: share = {one.share}: must lie in 0 .. 1"
        shares[one.lies_in] = shares.get(one.lies_in, 0.0) + one.share
        yield from (f"{where}: {fault}" for fault in arm_faults(one, parameters))
        for name in sorted({name for arm in one.arms.values() for name in arm.params}):
            if setters.setdefault(name, one.lies_in) != one.lies_in:
                yield f"{where}: params.{name} is set in layer {setters[name]!r} too; one layer may set a parameter"
    for layer, share in shares.items():
        if share > 1 + 1e-9:
            yield f"layer {layer!r}: the shares of its experiments sum to {share:g}, more than 1"


def arm_faults(experiment: Experiment, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    """All that is wrong with the arms of one."""
    if not experiment.arms or not sum(arm.weight for arm in experiment.arms.values()) > 0:
        yield "give it arms, [experiment.arms.NAME], with weights above 0"
    for name, arm in experiment.arms.items():
        if not 0 <= arm.weight < float("inf"):
            yield f"arms.{name}.weight = {arm.weight}: a number of at least 0"
        for key, value in arm.params.items():
            if key not in parameters:
                yield f"arms.{name}.params.{key}: the surface has no parameter of that name"
            elif fault := parameters[key].fault(value):
                yield f"arms.{name}.params.{key} = {value!r}: {fault}"
