"""The parts of a surface file that are about parameters and experiments, and the components that they touch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from mixline.node.components import Component
from mixline.node.names import nearest
from mixline.node.parameters import Parameter, Value, filled, named_in, parameter_faults

Make = Callable[[dict[str, Any], list[str]], Component | None]


class Template(msgspec.Struct, frozen=True):
    """A component whose table names parameters. ``make(table, problems)`` decodes a table that is filled in."""

    table: dict[str, Any]
    names: tuple[str, ...]
    make: Make


def template_of(table: dict[str, Any], make: Make) -> Template | None:
    """None for a component that names no parameter."""
    names = tuple(sorted(set(named_in({key: value for key, value in table.items() if key not in ("kind", "name")}))))
    return Template(table, names, make) if names else None


def made_with_defaults(
    template: Template, where: str, parameters: Mapping[str, Parameter], problems: list[str]
) -> Component | None:
    """The component with every parameter's default; what its bounds make of it is a problem too."""
    unknown = [name for name in template.names if name not in parameters]
    problems += [f"{where}: ${name}: [params] has no such name{nearest(name, parameters)}" for name in unknown]
    if unknown:
        return None
    for values in combinations(template, parameters):
        found: list[str] = []
        template.make(filled(template.table, values), found)
        if found:
            told = ", ".join(f"{name} = {values[name]!r}" for name in template.names)
            problems += [f"{problem} (with {told})" for problem in found]
            return None
    return template.make(filled(template.table, defaults_of(parameters)), problems)


def defaults_of(parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    """By name."""
    return {name: one.default for name, one in parameters.items()}


def combinations(template: Template, parameters: Mapping[str, Parameter]) -> Iterator[dict[str, Value]]:
    """The defaults with one parameter after the other at its bounds."""
    defaults = defaults_of(parameters)
    yield defaults
    for name in template.names:
        yield from ({**defaults, name: value} for value in parameters[name].extremes())


def faults_of(parameters: Mapping[str, Parameter], components: Mapping[str, tuple[Component, ...]]) -> Iterator[str]:
    """What is wrong with the declarations, and names that components read and nobody declares."""
    yield from parameter_faults(parameters)
    if not parameters:
        return
    for stage, some in components.items():
        for one in some:
            for name in sorted(one.parameters() - set(parameters)):
                yield f"{stage} {one.name!r}: params.{name}: [params] has no such name{nearest(name, parameters)}"
