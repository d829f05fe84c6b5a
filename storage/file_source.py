"""The user's own files as the source of a build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixline.storage.build_source import EventStream, Given
from mixline.storage.catalogue_builder import CatalogueBuilder
from mixline.storage.complaints import Complaints
from mixline.storage.events import EventReader
from mixline.storage.identifiers import RowFinder
from mixline.storage.inputs import Input
from mixline.storage.live_ops import Batch
from mixline.storage.manifest import CatalogueFacts, IdKind
from mixline.storage.matrices import open_matrix
from mixline.storage.progress import Progress
from mixline.storage.spec import BuildSpec
from mixline.storage.values import PARSE

QUERIES = {"text.queries": "query", "text.queries (count)": "count"}  # columns of a file of past queries


class FileSource:
    """What a specification names."""

    def __init__(self, spec: BuildSpec, live_seq: int = 0) -> None:
        """``live_seq``: the files contain what a store's log has up to there."""
        self.spec, self.live_seq = spec, live_seq
        self._item_ids: IdKind = "u64"

    def check(self, complaints: Complaints) -> None:
        """All files that cannot be opened or lack a column, in one answer, before any is read."""
        spec = self.spec
        for name, table in (("items", spec.items), ("users", spec.users)):
            if table is not None:
                Input(spec.at(table.path), name, table.wanted(name), complaints).check()
        if spec.events is not None:
            Input(spec.at(spec.events.path), "events", spec.events.wanted(), complaints).check()
        if spec.text is not None and spec.text.queries is not None:
            Input(spec.at(spec.text.queries), "text", QUERIES, complaints).check()
        for name, space in spec.spaces.items():
            for side, path in (("items", space.items), ("users", space.users)):
                if path is not None:
                    open_matrix(spec.at(path), f"spaces.{name}.{side}", None, space.dim, complaints)

    def items(self, builder: CatalogueBuilder, progress: Progress) -> CatalogueFacts:
        table = self.spec.items
        source = Input(self.spec.at(table.path), "items", table.wanted("items"), builder.complaints)
        facts = builder.from_table(source, table, progress)
        self._item_ids = facts.id_kind
        return facts

    def users(self, builder: CatalogueBuilder, progress: Progress) -> CatalogueFacts:
        spec, table = self.spec, self.spec.users
        if table is not None:
            source = Input(spec.at(table.path), "users", table.wanted("users"), builder.complaints)
            return builder.from_table(source, table, progress)
        if spec.events is not None:
            return builder.from_events(spec.at(spec.events.path), spec.events, progress)
        return builder.empty(self._item_ids)

    def events(
        self, ids: Path, items: CatalogueFacts, users: CatalogueFacts, complaints: Complaints
    ) -> EventStream | None:
        spec = self.spec.events
        if spec is None:
            return None
        finders = RowFinder(ids / "users", users.id_kind), RowFinder(ids / "items", items.id_kind)
        return EventReader(self.spec.at(spec.path), spec, *finders, complaints)

    def vectors(self, name: str, items: int, users: int, complaints: Complaints) -> list[Given]:
        space = self.spec.spaces[name]
        found, dim = [], space.dim
        for side, path, count in (("items", space.items, items), ("users", space.users, users)):
            if path is not None:
                at = self.spec.at(path)
                rows = open_matrix(at, f"spaces.{name}.{side}", count, dim, complaints)
                if rows is not None:
                    dim = rows.shape[-1] if dim is None else dim
                    found.append(Given(side, at, rows))
        return found

    def past_queries(self, complaints: Complaints) -> dict[str, float]:
        text, found = self.spec.text, dict[str, float]()
        if text is None or text.queries is None:
            return found
        at, parse = self.spec.at(text.queries), PARSE["f32"][0]
        for batch in Input(at, "text", QUERIES, complaints).batches():
            columns = (batch.columns[name].to_pylist() for name in QUERIES.values())
            for row, (query, count) in enumerate(zip(*columns, strict=True), batch.first_row):
                try:
                    asked = 0.0 if count is None else float(parse(count))  # type: ignore[arg-type]
                except (ValueError, TypeError, OverflowError):
                    asked = -1.0
                if not 0 <= asked < float("inf"):
                    what = "how often a query was asked is no number of at least 0"
                    complaints.add(at, "text.queries", what, row=row, value=count)
                elif query:
                    found[str(query)] = found.get(str(query), 0.0) + asked
        return found

    def carried(self) -> Sequence[Batch]:
        return ()
