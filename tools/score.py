"""``mixline score``: any surface for a file of users, into Parquet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from mixline.node.page import Page
from mixline.storage.store import Store
from mixline.tools.batch import batch_options, node_for, pages_of
from mixline.tools.people import ids_of, read_columns

WRITE_ROWS = 1 << 17


@click.command("score")
@click.argument("store", type=click.Path(exists=True, file_okay=False, path_type=Path))
@batch_options
@click.option("--users", "people", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Left out: all.")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The Parquet file to write."
)
@click.option("--limit", type=click.IntRange(min=1), help="Items for each user (default: the surface's).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def score(
    store: Path,
    surface: str,
    config: Path | None,
    endpoint: str | None,
    workers: int,
    user_column: str,
    at: int | None,
    people: Path | None,
    out: Path,
    limit: int | None,
    as_json: bool,
) -> None:
    """Ask a surface of STORE for every user of a file; rows user, place (from 1), item, score, status."""
    with Store(store).open() as epoch:
        if people is None:
            every = epoch.users.ids_of(np.arange(epoch.users.count, dtype=np.uint32))
            users: list[Any] = every if isinstance(every, list) else every.tolist()
        else:
            users = ids_of(epoch, "users", read_columns(people, [user_column])[user_column])
    started, degraded, rows = time.monotonic(), 0, 0
    with node_for(store, config, endpoint, workers) as client, Rows(out) as written:
        request = {"limit": limit, "time": at}
        for user, page in pages_of(client, surface, users, f"{surface} for {len(users):,} users", **request):
            written.add(user, page)
            degraded += page.status != "OK"
            rows += len(page)
    took = time.monotonic() - started
    done = {"users": len(users), "rows": rows, "degraded": degraded, "seconds": round(took, 3), "out": str(out)}
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
        return
    pace = len(users) / max(took, 1e-9)
    click.echo(f"{out}: {rows:,} rows of {len(users):,} users in {took:.1f} s ({pace:,.0f}/s), {degraded} degraded")


class Rows:
    """A Parquet file that has its name once it is whole."""

    def __init__(self, path: Path) -> None:
        self.path, self._fresh = path, path.with_name(f".{path.name}.part")
        self._writer: Any = None
        self._users: list[int | str] = []
        self._pages: list[Page] = []
        self._count = 0

    def add(self, user: int | str, page: Page) -> None:
        """One user's page."""
        self._users.append(user)
        self._pages.append(page)
        self._count += len(page)
        if self._count >= WRITE_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        sizes = [len(page) for page in self._pages]
        ids: Any = [one for page in self._pages for one in page.ids]
        if not any(isinstance(page.ids, list) for page in self._pages):
            ids = np.concatenate([np.zeros(0, np.uint64), *(np.asarray(page.ids) for page in self._pages)])
        strings = any(isinstance(user, str) for user in self._users)
        users = [user for user, size in zip(self._users, sizes, strict=True) for _ in range(size)]
        statuses = [str(page.status) for page, size in zip(self._pages, sizes, strict=True) for _ in range(size)]
        table = pa.table(
            {
                "user": pa.array(users, pa.string() if strings else pa.uint64()),
                "place": pa.array([at for size in sizes for at in range(1, size + 1)], pa.uint32()),
                "item": pa.array(ids, pa.string() if isinstance(ids, list) and ids else pa.uint64()),
                "score": pa.array(np.concatenate([np.zeros(0, "f4"), *(page.scores for page in self._pages)])),
                "status": pa.array(statuses, pa.string()),
            }
        )
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._fresh, table.schema)
        self._writer.write_table(table)
        self._users, self._pages, self._count = [], [], 0

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: object, error: object, at: object) -> None:
        if error is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()
        if error is None:
            self._fresh.replace(self.path)
        else:
            self._fresh.unlink(missing_ok=True)
