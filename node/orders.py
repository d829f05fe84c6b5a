"""What the supervisor tells a child at its start, as JSON; here, so that it need not load what the child is made of.

Descriptors come under the numbers that they have in the supervisor.
"""

from __future__ import annotations

import msgspec

FDS_MAX = 250  # descriptors in one message: the kernel takes 253
ENGINE = "mixline.node.engine:Engine"
WRITER = "mixline.node.writer:Writer"


class SeatOrders(msgspec.Struct, frozen=True):
    """One seat as the supervisor hands it to a broker; ``pid`` 0 means that nobody sits there."""

    seat: int
    pid: int
    seat_fd: int
    arena_fd: int
    bell_fd: int
    meters_fd: int
    writes: bool = False


class BrokerOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells a broker."""

    parent: int
    life: int
    control_fd: int
    board_fd: int
    slots_fd: int
    bell_fd: int
    meters_fd: int
    workers: int
    bind: list[str]
    seats: list[SeatOrders]
    tenants: dict[str, float] = {}
    hedge: bool = True
    share_scans: bool = True
    writable: bool = True
    log: str = "text"


class CompactionOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells the process that folds what was written; ``keep`` epochs stay."""

    parent: int
    store: str
    keep: int
    log: str = "text"


class WorkerOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells a worker."""

    parent: int
    seat: int
    seat_fd: int
    arena_fd: int
    bell_fd: int
    meters_fd: int
    board_fd: int
    slots_fd: int
    broker_bell_fd: int
    store: str
    config: str | None = None
    engine: str = ENGINE
    generation: int = 0
    bind: list[str] = []
    log: str = "text"


class RehearsalOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells the throw-away process of a reload."""

    store: str
    config: str | None
    engine: str
    log: str = "text"


class WarmOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells the process that warms the active epoch."""

    parent: int
    store: str
    config: str | None = None
    replay: str = ""
    huge: bool = True
    log: str = "text"


class FallBackOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells the process that finds another epoch than ``bad``; ``served`` 0 for none."""

    parent: int
    store: str
    bad: int
    served: int
    log: str = "text"


class NurseryOrders(msgspec.Struct, frozen=True):
    """What the supervisor tells a nursery. One in ``line`` n is the n-th that was forked from another, 0: by exec."""

    parent: int
    control_fd: int
    engine: str = ENGINE
    config: str | None = None
    store: str | None = None
    line: int = 0


class BirthOrder(msgspec.Struct, frozen=True):
    """What the supervisor asks a nursery for: a process that runs ``module`` with ``orders``. With the message comes
    a descriptor on which the child waits for leave to begin; those numbered ``fds`` in the orders come after it."""

    number: int
    module: str
    orders: str
    fds: list[int]
