"""The user's own files as the source of a build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixline.storage.askers import Askers
from mixline.storage.build_source import EventStream, Given
from mixline.storage.carried_log import carried_up_to
from mixline.storage.catalogue import NO_ROW
from mixline.storage.catalogue_builder import CatalogueBuilder
from mixline.storage.complaints import Complaints
from mixline.storage.events import EventReader
from mixline.storage.identifiers import IdReader, RowFinder
from mixline.storage.inputs import Batch as ArrowBatch
from mixline.storage.inputs import Input
from mixline.storage.live_ops import Batch
from mixline.storage.manifest import CatalogueFacts, IdKind
from mixline.storage.matrices import open_matrix
from mixline.storage.past_queries import PastQueries, asked_often
from mixline.storage.progress import Progress
from mixline.storage.spec import BuildSpec
from mixline.storage.text_spec import TextSpec
from mixline.storage.values import PARSE

QUERIES = {"text.queries": "query", "text.queries (count)": "count"}  # columns of a file of past queries


class FileSource:
    """What a specification names."""

    def __init__(self, spec: BuildSpec, live_seq: int = 0, store: Path | None = None) -> None:
        """``live_seq``: the files contain what the log of ``store`` has up to there, but for blocks and budgets, which
        are carried over."""
        self.spec, self.live_seq, self._store = spec, live_seq, store
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
            Input(spec.at(spec.text.queries), "text", past_columns(spec.text), complaints).check()
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

    def past_queries(self, ids: Path, items: CatalogueFacts, complaints: Complaints) -> PastQueries:
        text = self.spec.text
        if text is None or text.queries is None:
            return PastQueries.none()
        at, wanted = self.spec.at(text.queries), past_columns(text)
        finder = RowFinder(ids / "items", items.id_kind)
        reader = IdReader(finder.kind, at, "text.queries_item", complaints, nulls_pass=True)
        asked: dict[str, float] = {}
        numbers: dict[str, int] = {}
        acted: list[tuple[np.ndarray, ...]] = []
        for batch in Input(at, "text", wanted, complaints).batches():
            queries, counts = past_rows(batch, at, complaints)
            for query, count in zip(queries, counts, strict=True):
                if query:
                    asked[query] = asked.get(query, 0.0) + count
                    numbers.setdefault(query, len(numbers))
            if text.queries_item is not None:
                rows = finder.rows(reader, batch.columns[text.queries_item], batch.first_row)
                there = np.flatnonzero((rows != NO_ROW) & np.array([bool(query) for query in queries]))
                number = np.array([numbers[queries[row]] for row in there.tolist()], dtype=np.uint32)
                acted.append((number, rows[there], np.array(counts)[there]))
        public = asked_often(asked, text.queries_users)  # nobody knows by whom
        past = PastQueries.none()._replace(asked=asked, askers=Askers.none()._replace(public=public))
        if acted:
            number, rows, times = (np.concatenate(parts) for parts in zip(*acted, strict=True))
            past = past._replace(numbers=number, rows=rows, counts=times)
        return past

    def carried(self) -> Sequence[Batch]:
        return carried_up_to(self._store, self.live_seq) if self._store is not None else ()


def past_columns(text: TextSpec) -> dict[str, str]:
    """The columns that are wanted of a file of past queries."""
    return QUERIES if text.queries_item is None else {**QUERIES, "text.queries_item": text.queries_item}


def past_rows(batch: ArrowBatch, at: Path, complaints: Complaints) -> tuple[list[str], list[float]]:
    """Queries ("" for none), and how often each was asked."""
    parse = PARSE["f32"][0]
    queries, counts = (batch.columns[name].to_pylist() for name in QUERIES.values())
    asked: list[float] = []
    for row, count in enumerate(counts, batch.first_row):
        try:
            times = 0.0 if count is None else float(parse(count))  # type: ignore[arg-type]
        except (ValueError, TypeError, OverflowError):
            times = -1.0
        if not 0 <= times < float("inf"):
            what = "how often a query was asked is no number of at least 0"
            complaints.add(at, "text.queries", what, row=row, value=count)
            times = 0.0
        asked.append(times)
    return [str(query) if query else "" for query in queries], asked
