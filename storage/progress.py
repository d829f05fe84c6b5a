"""How a build tells how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """``total`` None: unknown. Phases follow one another and never nest."""

    def phase(self, name: str, total: int | None = None) -> None: ...

    def advance(self, amount: int) -> None: ...


class Silence:
    """Nobody listens."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase."""

    def advance(self, amount: int) -> None:
        """Count some of it as done."""
