"""Items in languages that the user understands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mixline.node.admitted_rows import admitted_rows
from mixline.node.components.base import Filter
from mixline.node.components.filters.listed import drop_listed
from mixline.node.components.users import labels_of, version
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

LABELLED = ("category", "tags")


class LanguageFilter(Filter, frozen=True, kw_only=True):
    """Drops items in other languages than the user's; what has no language stays.

    - `column`: the items' languages, a category or tags column; of tags one is enough.
    - `users`: the users' column of languages, category or tags, with the same labels.
    - `default`: the languages of users of whom none are known; left out, they are shown everything.

    The request's parameter `languages` (`params = {"languages": "en,fr"}`) goes before what is known of the user.
    Labels that no item has let nothing in. Sources leave out what it would drop while they search.
    """

    commutes: ClassVar[bool] = True
    column: str
    users: str = ""
    default: tuple[str, ...] = ()

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        if not self.column.isidentifier():
            yield f"column = {self.column!r}: give the column a name of letters, digits and _ to filter by it"
        for key, columns, name in (
            ("column", epoch.items.columns, self.column),
            ("users", epoch.users.columns, self.users),
        ):
            if (name or key == "column") and (name not in columns or columns.kind_of(name) not in LABELLED):
                found = [n for n in columns if columns.kind_of(n) in LABELLED]
                yield f"{key} = {name!r}: the category and tags columns are {', '.join(found) or 'none'}"

    def languages(self, call: Call, group: int) -> list[str]:
        """What the group's user understands; empty when that is not known."""
        given = call.params.get("languages")
        if isinstance(given, str):
            return [part.strip() for part in given.split(",") if part.strip()]
        known = labels_of(call.epoch.users.columns[self.users], version(call, group)) if self.users else []
        return known or list(self.default)

    def excludes(self, call: Call, group: int) -> np.ndarray | None:
        languages = self.languages(call, group)
        if not languages:
            return None
        column = call.epoch.items.columns[self.column]
        has = f"{{!r}} in {self.column}" if column.offsets is not None else f"{self.column} == {{!r}}"
        words = bitmap(call, f"missing({self.column})").copy()
        for language in languages:
            if language in column.codes:  # so that no more bitmaps are kept than there are languages
                words |= bitmap(call, has.format(language))
        return ~words

    def drops(self, call: Call) -> np.ndarray:
        return drop_listed(call, lambda group: self.excludes(call, group))


def bitmap(call: Call, where: str) -> np.ndarray:
    """The items for which a predicate on stored columns holds; not to be written to."""
    found = admitted_rows(where, call.epoch)
    assert found is not None
    return found.bitmap(call.epoch, call.params, call.items_end)
