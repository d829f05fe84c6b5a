"""What one request runs with: the values of its surface's parameters, its experiments, and the pipeline made of them.

A surface whose components name parameters has a pipeline for each combination of values that was met, of which the
latest are kept; parts that no parameter touches are shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mixline.node.errors import BadRequest
from mixline.node.names import nearest
from mixline.node.parameters import QUALITY_STEPS, Value, filled
from mixline.node.pipeline import Pipeline

if TYPE_CHECKING:
    from mixline.node.call import Call
    from mixline.node.config import Surface
    from mixline.node.request import Ask
    from mixline.storage.epoch import Epoch

KEPT = 64  # pipelines of a surface


class Settings(NamedTuple):
    """``params``: every value, as predicates and a user's own components read them. ``quality``: below 1 where some of
    them shrank under load."""

    params: Mapping[str, Any]
    assignments: dict[str, str]
    quality: float
    pipeline: Pipeline


class Arms(NamedTuple):
    """Users of a request (``places`` among its ``users``, none for a single one) who are in the same arms, and what
    values these give."""

    places: list[int]
    assigned: dict[str, str]
    values: Mapping[str, Any]


NO_ARMS = Arms([], {}, {})
NO_PARTS = [NO_ARMS]


class Variants:
    """The pipelines of one surface on one epoch."""

    def __init__(self, surface: Surface, epoch: Epoch) -> None:
        self.surface, self.epoch = surface, epoch
        self.plain = Pipeline(surface, epoch)
        self.defaults = {name: one.default for name, one in surface.params.items()}
        self.used = sorted({name for template in surface.templates.values() for name in template.names})
        self._made: dict[tuple[Value, ...], Pipeline] = {self._key(self.defaults): self.plain}

    def arms_of(self, ask: Ask, tenant: str) -> list[Arms]:
        """Who of the request is in which arms, those of the first user first; at least one entry."""
        experiments = self.surface.experiments
        if experiments is None or (ask.user is None and ask.users is None):
            return NO_PARTS
        found: dict[tuple[tuple[str, str], ...], Arms] = {}
        for at, user in enumerate(ask.users if ask.users is not None else [ask.user]):
            assert user is not None
            assigned, values = experiments.arms_of(user, tenant)
            found.setdefault(tuple(assigned.items()), Arms([], assigned, values)).places.append(at)
        return [*found.values()]

    def settle(self, ask: Ask, tenant: str, quality: float, arms: Arms) -> Settings:
        """What this request runs with; :class:`BadRequest` for values that it may not set."""
        if not self.surface.params:
            return Settings(ask.params or {}, {}, 1.0, self.plain)
        values = dict(self.defaults)
        values.update(arms.values)
        for name, one in self.surface.params.items():
            if tenant in one.tenants:
                values[name] = one.tenants[tenant]
        for name, value in (ask.params or {}).items():
            self._check(name, value)
            values[name] = value
        shrunk = values
        if quality < 1.0:
            step = int(max(0.0, quality) * QUALITY_STEPS) / QUALITY_STEPS
            shrunk = {name: one.shrunk(values[name], step) for name, one in self.surface.params.items()}
            quality = step
        if shrunk == values:
            quality = 1.0
        return Settings(shrunk, arms.assigned, quality, self._pipeline(shrunk))

    def understood(self, call: Call, pipeline: Pipeline) -> Pipeline:
        """Run the query hydrators of ``pipeline``; the pipeline for the values of parameters that they leave."""
        before = call.params
        pipeline.understand(call)
        return pipeline if call.params is before or not self.surface.params else self._pipeline(call.params)

    def _check(self, name: str, value: Value) -> None:
        one = self.surface.params.get(name)
        if one is None:
            known = ", ".join(self.surface.params)
            raise BadRequest(f"params: no parameter {name!r}{nearest(name, self.surface.params)}; there are {known}")
        if not one.request:
            raise BadRequest(
                f"params.{name}: requests may not set it (request = true in {self.surface.file} lets them)"
            )
        if fault := one.fault(value):
            raise BadRequest(f"params.{name} = {value!r}: {fault}")

    def _key(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        return tuple(values[name] for name in self.used)

    def _pipeline(self, values: Mapping[str, Value]) -> Pipeline:
        key = self._key(values)
        found = self._made.pop(key, None)
        if found is None:
            found = Pipeline(self._varied(values), self.epoch, self.plain)
            if len(self._made) >= KEPT:
                oldest = next(one for one, made in self._made.items() if made is not self.plain)
                del self._made[oldest]
        self._made[key] = found  # the one that was used last stands last
        return found

    def _varied(self, values: Mapping[str, Value]) -> Surface:
        components = {stage: [*some] for stage, some in self.surface.components.items()}
        for (stage, at), template in self.surface.templates.items():
            problems: list[str] = []
            made = template.make(filled(template.table, values), problems)
            if made is None or problems:
                told = ", ".join(f"{name} = {values[name]!r}" for name in template.names)
                raise BadRequest(f"params: {told}: {'; '.join(problems)}")
            components[stage][at] = made
        varied = {stage: tuple(some) for stage, some in components.items()}
        return msgspec.structs.replace(self.surface, components=varied)
