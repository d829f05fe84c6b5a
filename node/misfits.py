"""Whether surfaces can work on an epoch: told when they are loaded or checked, all at once, before anybody asks."""

from __future__ import annotations

from collections.abc import Iterator

from mixline.node.block import DROPPED
from mixline.node.components.base import Component, in_turn
from mixline.node.config import STAGES, Surface
from mixline.node.names import nearest
from mixline.storage.epoch import Epoch


def misfits(surface: Surface, epoch: Epoch) -> Iterator[str]:
    """Everything about a surface that cannot work on this epoch, each with file and component."""
    written, committed = set(epoch.items.columns), ""
    if len(surface.components.get("filter", ())) > 255 - DROPPED:
        yield f"{surface.file}: at most {255 - DROPPED} filters"
    for stage, component in as_run(surface, written):
        where = f"{surface.file}: {stage} {component.name!r}"
        yield from (f"{where}: {problem}" for problem in component.misfits(epoch))
        for name in sorted(component.needs() - written):
            rival = next((one for one in surface.components[stage] if name in one.writes()), None)
            circle = f": {rival.name!r} does, and reads what this writes" if rival not in (None, component) else ""
            yield f"{where}: reads column {name!r}, which nothing before it writes{circle or nearest(name, written)}"
        written |= component.writes()
        if getattr(component, "commits", False):
            committed = component.name
        elif stage == "selector" and committed:
            yield f"{where}: stands behind {committed!r}, which cannot choose again; put it before that"


def as_run(surface: Surface, stored: set[str]) -> list[tuple[str, Component]]:
    """All components with their stages, in the order in which they run; late filters last."""
    found: list[tuple[str, Component]] = []
    given = set(stored)
    for stage in STAGES:
        some = surface.components.get(stage, ())
        found += [(stage, some[at]) for at in in_turn(some, given)]
        given.update(*(one.writes() for one in some))
    return sorted(found, key=lambda each: getattr(each[1], "late", False))
