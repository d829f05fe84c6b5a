"""The seven kinds of component, as declarations: a component is its configuration plus one method.

A component is an immutable struct decoded from its table in the surface file and keeps no state between requests; it
may not know other components, only the columns it reads and writes. Time, counts and failures are the framework's.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
import numpy as np

from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.block import Candidates
    from mixline.node.call import Call
    from mixline.node.scans import Scan


Excluded = np.ndarray | list[np.ndarray] | None


def sets_of(excluded: Excluded) -> Sequence[np.ndarray]:
    """The sets of items in what a filter excludes."""
    if excluded is None:
        return ()
    return (excluded,) if isinstance(excluded, np.ndarray) else excluded


class Component(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys that every component has.

    ``name`` (default: its kind), ``on_error``: ``skip`` (go on without it), ``default`` (its columns read as 0) or
    ``fail`` (the request fails); but for ``fail`` the reply is DEGRADED. ``share``: the part of the remaining time it
    may take, 0 to 1. ``blocking``: it waits for something outside of this process, and runs in a thread. ``files``:
    keys that name a file, from the folder of the surface file.
    """

    files: ClassVar[tuple[str, ...]] = ()
    kind: str
    name: str = ""
    on_error: Literal["skip", "default", "fail"] = "skip"
    share: float = 1.0
    blocking: bool = False

    def wrong(self) -> Iterator[str]:
        """Problems that need no store to be seen."""
        if not 0 < self.share <= 1:
            yield f"share = {self.share}: must lie above 0 and not above 1"
        if not self.name.replace("_", "").replace("-", "").replace(".", "").isalnum():
            yield f"name = {self.name!r}: letters, digits, '_', '-' and '.' only"
        yield from self.wrong_waits()

    def wrong_waits(self) -> Iterator[str]:
        """Problems with how it waits."""
        stage, coroutines = stage_of(type(self)), coroutines_of(type(self))
        if not self.blocking and not coroutines:
            return
        if stage in ("selector", "side_effect"):
            what = f"async def {coroutines[0]}" if coroutines else "blocking"
            yield f"{what}: a {stage} runs in the worker; wait in a hydrator, filter or scorer before it"
        elif "." not in self.kind:
            yield "blocking: it waits for nothing outside; the key is for components of your own"
        if "drops" in coroutines and "drops_among" not in coroutines and getattr(self, "late", False):
            yield "late: it is asked by drops_among; define async def drops_among"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        """Problems with this store; they refuse the configuration."""
        return iter(())

    def disabled(self, epoch: Epoch) -> str:
        """Why this component has nothing to work on in this store, or an empty string."""
        return ""

    def bind(self, epoch: Epoch) -> Any:
        """What no request changes, made once when the surface is loaded: ``call.bound`` while the component runs."""
        return None

    def way(self, bound: Any) -> str:
        """How it will go about it, for whoever looks at the plan; ``bound`` is what :meth:`bind` made."""
        return ""

    def reads(self) -> set[str]:
        """Columns that must be written before it runs; item columns of the store always are."""
        return set()

    def needs(self) -> set[str]:
        """The same, with what the framework reads for it."""
        return self.reads()

    def writes(self) -> set[str]:
        """Columns that it writes."""
        return set()

    def parameters(self) -> set[str]:
        """Parameters that it reads of a call (``call.params``)."""
        return set()


class QueryHydrator(Component, frozen=True, kw_only=True):
    """Understands the request before anything is retrieved: its text, its vector, the values of its parameters."""

    def hydrate_query(self, call: Call) -> None:
        """Look at ``call.ask`` and say what is known besides by :meth:`Call.enrich`."""
        raise TypeError(f"{type(self).__name__} defines no hydrate_query(call)")


class Source(Component, frozen=True, kw_only=True):
    """Request to candidates; its score is the column ``<name>.score``."""

    limit: int = 100

    def wrong(self) -> Iterator[str]:
        from mixline.node import limits  # the limits import the exchange's sizes; declarations alone need neither

        yield from Component.wrong(self)
        if not 1 <= self.limit <= limits.source_limit_max:
            yield f"limit = {self.limit}: must lie in 1 .. {limits.source_limit_max}"

    def scans(self, call: Call, group: int) -> list[Scan]:
        """Passes over a space that this needs, to be made together with those of other requests; they are
        ``call.scans[group]``, and over, when :meth:`retrieve` is called."""
        return []

    def shares(self, bound: Any) -> bool:
        """Whether requests are best answered together, for the passes they want alike."""
        return type(self).scans is not Source.scans

    def retrieve(self, call: Call, group: int) -> Candidates:
        """Candidates for one group, best first, at most ``limit``."""
        raise TypeError(f"{type(self).__name__} defines no retrieve(call, group)")

    def score_of(self, call: Call, group: int, row: int) -> float | None:
        """The score that it would give one item of the store, limit and filters aside: how far what it did not bring
        was from being brought. None where it would not come to the item, or cannot say."""
        return None

    def present(self, call: Call, rows: np.ndarray) -> None:
        """Add to ``call.told`` what the reply shall say of the page's ``rows`` (uint32), besides their columns."""

    def writes(self) -> set[str]:
        return {f"{self.name}.score"}


class Hydrator(Component, frozen=True, kw_only=True):
    """Writes feature columns into ``call.block.columns``."""

    def hydrate(self, call: Call) -> None:
        """Write the declared columns, each as long as the block."""
        raise TypeError(f"{type(self).__name__} defines no hydrate(call)")


class Filter(Component, frozen=True, kw_only=True):
    """Says which candidates to drop; the framework records it as the reason. ``late``: only of those that the selectors
    have chosen, who choose again in place of what was dropped. One that ``commutes`` decides of each candidate by that
    candidate and its user alone, so it may be asked earlier or later, and of some candidates alone."""

    commutes: ClassVar[bool] = False
    late: bool = False

    def drops(self, call: Call) -> np.ndarray:
        """Boolean per candidate of the block, True to drop."""
        raise TypeError(f"{type(self).__name__} defines no drops(call)")

    def drops_among(self, call: Call, positions: np.ndarray) -> np.ndarray:
        """The same for some ``positions`` of the block alone: what a late filter is asked."""
        return np.asarray(self.drops(call))[positions]

    def excludes(self, call: Call, group: int) -> Excluded:
        """Items that it would drop whatever else is known, for sources to leave out; None when it cannot say. Rows
        (uint32), a bitmap (uint64 words), or a list of such sets."""
        return None

    def admits(self, call: Call, bound: Any) -> np.ndarray | None:
        """Bitmap (uint64 words) of the items that it would keep, for sources to leave out all others; None when it
        cannot say. Asked once a request, and only where all that it reads are columns as they are in the store."""
        return None


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``count`` best of each user by the column ``by``, of those that no filter dropped."""

    count: int
    by: str


class Scorer(Component, frozen=True, kw_only=True):
    """Writes a float32 score column named after itself.

    ``best``: score the best by an earlier column alone; all others have no score.
    """

    best: Best | None = None

    def wrong(self) -> Iterator[str]:
        yield from Component.wrong(self)
        if self.best is not None and self.best.count < 1:
            yield f"best.count = {self.best.count}: must be 1 or more"

    def needs(self) -> set[str]:
        return self.reads() if self.best is None else self.reads() | {self.best.by}

    def score(self, call: Call) -> np.ndarray:
        """One float32 per candidate of the block."""
        raise TypeError(f"{type(self).__name__} defines no score(call)")

    def parts(self, call: Call, values: dict[str, Any]) -> dict[str, float]:
        """What adds up to the score of a candidate whose columns are ``values``, by name; none where it is no sum."""
        return {}

    def writes(self) -> set[str]:
        return {self.name}


class Selector(Component, frozen=True, kw_only=True):
    """Orders and takes. One that ``commits`` does what cannot be done twice, so it stands behind all that do not, and
    takes of what late filters let pass."""

    commits: ClassVar[bool] = False

    def select(self, call: Call, positions: np.ndarray, limit: int) -> np.ndarray:
        """Positions to keep out of one group's ``positions``, best first. ``limit`` is the page's."""
        raise TypeError(f"{type(self).__name__} defines no select(call, positions, limit)")

    def reach(self, limit: int) -> int:
        """How many of a group it may look at, where it takes ``limit`` or fewer: so many late filters check."""
        return limit

    def select_all(self, call: Call, slates: list[np.ndarray], limit: int) -> list[np.ndarray]:
        """The same of every group; for a selector that looks at all of them at once."""
        return [self.select(call, slate, limit) for slate in slates]


class SideEffect(Component, frozen=True, kw_only=True):
    """Runs after the reply is made."""

    def after(self, call: Call) -> None:
        """Use the settled block; nothing it does changes the reply."""
        raise TypeError(f"{type(self).__name__} defines no after(call)")


STAGE_CLASSES: dict[str, type[Component]] = {
    "query_hydrator": QueryHydrator,
    "source": Source,
    "hydrator": Hydrator,
    "filter": Filter,
    "scorer": Scorer,
    "selector": Selector,
    "side_effect": SideEffect,
}


# What a component does for a request, and where it may wait.
WORK: dict[str, tuple[str, ...]] = {
    "query_hydrator": ("hydrate_query",),
    "source": ("retrieve",),
    "hydrator": ("hydrate",),
    "filter": ("drops", "drops_among"),
    "scorer": ("score",),
    "selector": ("select", "select_all"),
    "side_effect": ("after",),
}


def coroutines_of(component: type[Component]) -> tuple[str, ...]:
    """Those of its methods that are ``async``."""
    return tuple(name for name in WORK[stage_of(component)] if inspect.iscoroutinefunction(getattr(component, name)))


def in_turn(components: Sequence[Component], given: AbstractSet[str]) -> list[int]:
    """Places of a stage's components in the order in which they can run: that of the file, but that who reads a column
    comes behind whoever writes it, where it is neither ``given`` nor written before. Those that go round in a circle
    stand last."""
    before: list[set[int]] = []
    lacking: list[set[str]] = []  # what each reads that is not there before it in the file
    known = set(given)
    for at, one in enumerate(components):
        reads, writes = one.needs(), one.writes()
        lacking.append(reads - known - writes)
        known |= writes
        ahead = {
            place
            for place, other in enumerate(components[:at])
            if (reads | writes) & other.writes() or writes & (other.needs() - lacking[place])
        }
        behind = {at + 1 + place for place, other in enumerate(components[at + 1 :]) if lacking[at] & other.writes()}
        before.append(ahead | behind)
    found: list[int] = []
    left = [*range(len(components))]
    while left:
        at = next((at for at in left if before[at] <= set(found)), -1)
        if at < 0:
            return found + left
        found.append(at)
        left.remove(at)
    return found


def depends(component: Component, earlier: Component) -> bool:
    """Whether it must come behind: it reads what the earlier one writes, or writes what that one reads or writes."""
    writes, others = component.writes(), earlier.writes()
    return bool(component.needs() & others or writes & others or writes & earlier.needs())


def not_numbers(epoch: Epoch, key: str, names: Iterable[str]) -> Iterator[str]:
    """Item columns among ``names`` that cannot be added or ordered by; the names of scores are no item columns."""
    for name in names:
        if name in epoch.items.columns and epoch.items.columns.kind_of(name) in ("category", "tags"):
            yield f"{key}: {name!r} is {epoch.items.columns.kind_of(name)}, not a number"


def stage_of(component: type[Component]) -> str:
    """The stage a component class belongs to."""
    return next(stage for stage, base in STAGE_CLASSES.items() if issubclass(component, base))
