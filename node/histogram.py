"""A histogram as a reader holds it: the filled buckets of a meters row, which can be added, subtracted and asked for
quantiles.

Buckets are those of :mod:`mixline.ipc.meters`, at most 1/16 wide, so a quantile is right to 1/16 of itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mixline.ipc.meters import bucket_bounds


class Histogram(NamedTuple):
    """Whole microseconds: their sum, and how many lie in each bucket. Empty buckets are left out."""

    sum_us: int = 0
    buckets: dict[int, int] = {}

    @property
    def total(self) -> int:
        """Values recorded."""
        return sum(self.buckets.values())

    @property
    def mean_us(self) -> float:
        """NaN when empty."""
        return self.sum_us / self.total if self.buckets else float("nan")

    def plus(self, other: Histogram) -> Histogram:
        """Both together."""
        buckets = dict(self.buckets)
        for bucket, many in other.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + many
        return Histogram(self.sum_us + other.sum_us, buckets)

    def since(self, before: Histogram) -> Histogram:
        """What was recorded after ``before`` was read; a row that began anew meanwhile counts whole."""
        if any(many > self.buckets.get(bucket, 0) for bucket, many in before.buckets.items()):
            return self
        left = {bucket: many - before.buckets.get(bucket, 0) for bucket, many in self.buckets.items()}
        # The sum is read before the buckets, so it may lag behind them by a value or two.
        return Histogram(max(0, self.sum_us - before.sum_us), {bucket: many for bucket, many in left.items() if many})

    def quantile(self, share: float) -> float:
        """The value, in microseconds, below which ``share`` of the values lie; NaN when empty.

        NumPy's default definition (Hyndman and Fan 1996, type 7) on values spread evenly within each bucket: both order
        statistics are known to within their bucket, so the result is off by at most the wider of the two.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"quantile {share}: must lie in 0 .. 1")
        many = self.total
        if not many:
            return float("nan")
        position = share * (many - 1)
        at = min(int(position), many - 1)
        low, high = self._ordered((at, min(at + 1, many - 1)))
        return low + (high - low) * (position - at)

    def _ordered(self, places: Iterable[int]) -> list[float]:
        """Estimates of the values at these places, ascending, of the sorted values."""
        edges: list[tuple[int, int, int]] = []
        before = 0
        for bucket in sorted(self.buckets):
            edges.append((before, self.buckets[bucket], bucket))
            before += self.buckets[bucket]
        found = []
        for place in places:
            start, many, bucket = next(edge for edge in reversed(edges) if edge[0] <= place)
            low, high = bucket_bounds(bucket)
            found.append(low + (high - low) * (place - start + 0.5) / many)
        return found

    def up_to(self, bounds_us: Iterable[int]) -> list[int]:
        """How many values lie below each of the ascending bounds; exact where a bound is the edge of a bucket."""
        below, found = 0, []
        filled = sorted(self.buckets)
        at = 0
        for bound_us in bounds_us:
            while at < len(filled) and bucket_bounds(filled[at])[1] <= bound_us:
                below += self.buckets[filled[at]]
                at += 1
            found.append(below)
        return found
