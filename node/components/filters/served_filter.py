"""What was shown to the user lately does not come again at once."""

from __future__ import annotations

from mixline.node.components.filters.frequency_filter import FrequencyFilter


class ServedFilter(FrequencyFilter, frozen=True, kw_only=True):
    """`frequency` with other defaults: drops what was shown to the user in the last `window`, as the side effect
    `served` records it."""

    window: str = "1d"
    actions: tuple[str, ...] = ("served",)
