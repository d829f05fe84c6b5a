"""Where a build takes its data from: the user's files, or a store that lives. The builder asks, and knows neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mixline.storage.catalogue_builder import CatalogueBuilder
from mixline.storage.complaints import Complaints
from mixline.storage.live_ops import Batch
from mixline.storage.manifest import CatalogueFacts
from mixline.storage.matrices import Rows
from mixline.storage.past_queries import PastQueries
from mixline.storage.progress import Progress
from mixline.storage.spec import BuildSpec


class Given(NamedTuple):
    """The vectors of one side of a space, "items" or "users". ``absent``: rows that have none, and read as zeros."""

    side: str
    path: Path
    rows: Rows
    absent: np.ndarray = np.zeros(0, dtype=np.uint32)


class EventStream(Protocol):
    """Events in the order in which they came. All but ``batches``, ``fields`` and ``expected`` is right at its end."""

    fields: tuple[str, ...]  # of an event that the epoch keeps
    expected: int  # how many there are, about
    count: int
    skipped: int
    newest: int | None

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the actions, by code."""
        ...

    def batches(self) -> Iterator[np.ndarray]:
        """Arrays of :data:`mixline.storage.events.EVENT`."""
        ...


class BuildSource(Protocol):
    """What a build asks of its data, in the order in which it asks. ``live_seq``: the last operation of the store's log
    that is in."""

    spec: BuildSpec
    live_seq: int

    def check(self, complaints: Complaints) -> None:
        """Complain of all that can be told before the long work."""
        ...

    def items(self, builder: CatalogueBuilder, progress: Progress) -> CatalogueFacts: ...

    def users(self, builder: CatalogueBuilder, progress: Progress) -> CatalogueFacts: ...

    def events(
        self, ids: Path, items: CatalogueFacts, users: CatalogueFacts, complaints: Complaints
    ) -> EventStream | None:
        """``ids``: the folder where both catalogues' ids lie by now."""
        ...

    def vectors(self, name: str, items: int, users: int, complaints: Complaints) -> list[Given]:
        """The sides of a space that are given; none where it is to be learnt from the events."""
        ...

    def past_queries(self, ids: Path, items: CatalogueFacts, complaints: Complaints) -> PastQueries:
        """Queries that complete what is typed, and what was acted on then, by rows of the new epoch."""
        ...

    def carried(self) -> Sequence[Batch]:
        """Operations that say what the epoch's arrays cannot: applied to it before any of the log."""
        ...
