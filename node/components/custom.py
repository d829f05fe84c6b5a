"""A user's own component: a Python class named by its dotted path in the surface file."""

from __future__ import annotations

import importlib

from mixline.node.components.base import Component


def load_custom(path: str) -> type[Component]:
    """Import ``package.module.Class``; TypeError when it is not a subclass of one of the seven kinds."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise
    except Exception as error:  # importing runs the user's own module, which may raise anything
        raise ImportError(f"importing {module!r} raised {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Component) and found is not Component):
        raise TypeError(
            "the class must derive from QueryHydrator, Source, Hydrator, Filter, Scorer, Selector or SideEffect"
        )
    return found
