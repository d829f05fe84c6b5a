"""The serving node: supervisor, broker, workers, the pipeline engine and its clients.

Names are imported when asked for, so that a worker does not load the client nor a client the engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixline.node.async_client import AsyncClient
    from mixline.node.client import Client
    from mixline.node.inprocess import Node
    from mixline.node.page import Page

__all__ = ["AsyncClient", "Client", "Node", "Page"]
_HOMES = {"AsyncClient": "async_client", "Client": "client", "Node": "inprocess", "Page": "page"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
