"""Nothing at night, by the user's own clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mixline.node.components.base import Filter
from mixline.node.components.users import version
from mixline.storage.catalogue import NO_ROW
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
DAY_MIN = 24 * 60


class QuietHoursFilter(Filter, frozen=True, kw_only=True):
    """Drops every candidate of a user for whom it is a quiet hour, as of the request's time.

    - `start`, `stop`: `"22:00"` to `"08:00"`, by the user's clock; a span over midnight is one.
    - `zone`: the users' column with their time zone: a category with names such as `"Europe/Berlin"`, or a number of
      hours ahead of UTC. `default`: the zone of users of whom none is known, or whose zone has no such name.
    """

    commutes: ClassVar[bool] = True
    start: str = "22:00"
    stop: str = "08:00"
    zone: str = ""
    default: str = "UTC"

    def wrong(self) -> Iterator[str]:
        yield from Filter.wrong(self)
        for key in ("start", "stop"):
            if not CLOCK.fullmatch(getattr(self, key)):
                yield f'{key} = {getattr(self, key)!r}: write hours and minutes, "22:00"'
        if zone_of(self.default) is None:
            yield f"default = {self.default!r}: no time zone of that name"

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        columns = epoch.users.columns
        if self.zone and (self.zone not in columns or columns.kind_of(self.zone) not in ("category", "i64", "f32")):
            found = [name for name in columns if columns.kind_of(name) in ("category", "i64", "f32")]
            yield f"zone = {self.zone!r}: users have the columns {', '.join(found) or 'none'}"

    def quiet(self, call: Call, group: int) -> bool:
        """Whether the group's user is to be left alone."""
        clock, known = datetime.fromtimestamp(call.now, UTC), None
        row = version(call, group)
        if self.zone and row != NO_ROW:
            known = call.epoch.users.columns[self.zone].to_list(np.array([row], dtype=np.uint32))[0]
        if isinstance(known, (int, float)):
            clock += timedelta(hours=float(known))
        else:
            clock = clock.astimezone((zone_of(str(known)) if known else None) or zone_of(self.default))
        now = clock.hour * 60 + clock.minute
        start, stop = minutes(self.start), minutes(self.stop)
        return (now - start) % DAY_MIN < (stop - start) % DAY_MIN

    def drops(self, call: Call) -> np.ndarray:
        dropped = np.zeros(len(call.block), dtype=bool)
        for group, (start, stop) in enumerate(pairwise(call.block.edges(call.groups))):
            dropped[start:stop] = start < stop and self.quiet(call, group)
        return dropped


def minutes(clock: str) -> int:
    """Since midnight."""
    return int(clock[:2]) * 60 + int(clock[3:])


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo | None:
    """A time zone by its name, None where there is none."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # half a megabyte, which nodes without other zones need not have

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return None
