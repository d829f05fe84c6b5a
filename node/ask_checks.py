"""What is refused of a request before any component sees it: each with what is wrong and what would be right."""

from __future__ import annotations

from mixline.node import limits
from mixline.node.call import Call
from mixline.node.config import Surface
from mixline.node.errors import BadRequest, NotFound
from mixline.node.names import nearest
from mixline.node.request import Ask
from mixline.storage.catalogue import NO_ROW, Catalogue


def check_ask(ask: Ask, surface: Surface, items: Catalogue) -> int:
    """Refuse what no pipeline should see; return the page's limit."""
    limit = surface.limit if ask.limit is None else ask.limit
    if not 1 <= limit <= limits.limit_max:
        raise BadRequest(f"limit {limit}: must lie in 1 .. {limits.limit_max}")
    if ask.users is not None:
        if ask.user is not None:
            raise BadRequest("user and users: give one of them")
        check_count("users", ask.users, 1, limits.groups_max)
    if ask.items is not None:
        if ask.item is not None:
            raise BadRequest("item and items: give one of them")
        check_count("items", ask.items, 1, limits.candidates_max)
    if ask.candidates is not None:
        check_count("candidates", ask.candidates, 0, limits.candidates_max)
    if ask.time is not None and not 0 <= ask.time <= limits.time_max:
        raise BadRequest(f"time {ask.time}: give seconds since 1970, at most {limits.time_max}")
    if ask.why is not None:
        check_count("why", ask.why, 1, limits.why_max)
    if ask.cursor is not None and not surface.paging:
        raise BadRequest("cursor: this surface has no paging")
    if ask.cursor is not None and ask.users is not None:
        raise BadRequest("cursor: pages of several users have none")
    if ask.fields:
        known = items.fields
        for name in ask.fields:
            if name in known or name == "*":
                continue
            raise BadRequest(f"fields: no field {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return limit


def check_users(call: Call, surface: Surface) -> None:
    """NOT_FOUND for a user that the store lacks."""
    if NO_ROW not in (rows := call.users.tolist()):
        return
    named: list[int | str | None] = [*call.ask.users] if call.ask.users else [call.ask.user]
    lost = [one for one, row in zip(named, rows, strict=True) if row == NO_ROW]
    if lost == [None]:
        raise BadRequest(f"surface {surface.name!r} needs user= or users=")
    raise NotFound(f"surface {surface.name!r}: unknown user {lost[0]!r} ({len(lost)} of {len(named)})")


def check_count(name: str, ids: list[int | str], least: int, most: int) -> None:
    """Refuse a list of ids that is too short or too long."""
    if not least <= len(ids) <= most:
        raise BadRequest(f"{name}: {len(ids)} ids; give 1 to {most}")
