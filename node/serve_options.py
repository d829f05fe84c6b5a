"""What ``mixline serve`` asks a supervisor for: NODE.toml and the command line merged, as JSON on its command line."""

from __future__ import annotations

import msgspec

from mixline.node.orders import ENGINE


class WarmOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[warm]`` of NODE.toml: ``replay`` is a file of recorded requests, asked once the files are in memory, in
    ``huge`` pages where the file system has them."""

    replay: str = ""
    huge: bool = True


class CompactionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[compaction]`` of NODE.toml: fold once so many ``operations`` are pending, or every so many hours if any are.

    0: never by this. The newest ``keep`` epochs stay."""

    operations: int = 500_000
    every_hours: float = 24.0
    keep: int = 2


class JournalOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[journal]`` of NODE.toml: where what side effects of the kind ``journal`` write lies, ``STORE/journal`` where
    nothing is said. A file is closed at ``file_mb``, and all together have at most ``total_mb``."""

    path: str = ""
    file_mb: float = 64.0
    total_mb: float = 1024.0


class ShadowOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[shadow]`` of NODE.toml: a ``share`` of the requests is answered a second time under the surfaces of another
    NODE.toml, while workers have nothing else to do."""

    config: str
    share: float = 0.01


class ServeOptions(msgspec.Struct, frozen=True):
    """One node. ``tenants`` are shares of the workers, 1 for whom nothing is said; ``metrics`` HOST:PORT or nothing."""

    store: str
    bind: list[str]
    workers: int
    config: str | None = None
    engine: str = ENGINE
    json: bool = False
    parent: int = 0  # die with this process; tests and `mixline demo` set it
    tenants: dict[str, float] = {}
    hedge: bool = True
    share_scans: bool = True
    log: str = "text"
    metrics: str = ""
    warm: WarmOptions | None = None
    compaction: CompactionOptions | None = None
