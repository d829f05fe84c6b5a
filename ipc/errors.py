"""Failures of the exchange and of the wire, one class per cause.

The broker answers a WireError with BAD_REQUEST and kills the worker behind a Corrupt seat; nothing here is ignored.
"""

from __future__ import annotations


class IpcError(Exception):
    """Base of every failure in ``mixline.ipc``."""


class WireError(IpcError, ValueError):
    """A frame that is not ours: wrong length, magic, version, kind or encoding."""


class Corrupt(IpcError):
    """Shared memory holds what its writer may not have written: an index out of range, a stale generation."""


class SegmentError(IpcError, OSError):
    """A memory file could not be made, sealed or mapped, or is not of the size that its user expects."""
