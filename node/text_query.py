"""What a user typed, as clauses: any text is a query, and what is no syntax is a word.

``word``, ``"a phrase"``, ``"near by"~3``, ``+must``, ``-not``, ``field:word``, ``prefix*``, ``fuzzy~``. A quote that is
not closed runs to the end. A sign counts before a word only, a field only where the store has it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

from mixline.node import limits
from mixline.node.errors import BadRequest

Demand = Literal["should", "must", "not"]
SIGN = re.compile(r"[+-](?=[^\s+-])")
FIELD = re.compile(r"(\w{1,64}):(?=[^\s:])")
BODY = re.compile(r'"([^"]*)(?:"(?:~(\d{1,3}))?|$)|([^\s"]+)')  # a phrase with its slop, or up to a space or quote
SPACES = re.compile(r"[\s\0]+")


class Clause(NamedTuple):
    """``start`` .. ``end``: where ``text`` lies in the query. ``slop``: how far apart words of a phrase may lie."""

    demand: Demand
    field: str
    text: str
    start: int
    end: int
    phrase: bool = False
    slop: int = 0
    prefix: bool = False
    fuzzy: bool = False


def parse_query(query: str, fields: Collection[str]) -> Iterator[Clause]:
    """The clauses of a query, as they are asked for; :class:`BadRequest` for one that is too long to be one."""
    if len(query) > limits.query_chars_max:
        raise BadRequest(f"query: {len(query):,} characters; at most {limits.query_chars_max:,}")
    at = 0
    while at < len(query):
        gap = SPACES.match(query, at)
        if gap:
            at = gap.end()
            continue
        sign = SIGN.match(query, at)
        begin = sign.end() if sign else at
        field = FIELD.match(query, begin)
        named = field[1] if field and field[1] in fields else ""
        match = BODY.match(query, field.end() if field and named else begin)
        if match is None:  # a sign or colon at the very end
            return
        yield clause_of(sign[0] if sign else "", named, match)
        at = match.end()


def clause_of(sign: str, field: str, match: re.Match[str]) -> Clause:
    """One clause as the expressions above take it apart."""
    quoted, slop, word = match.groups()
    demand: Demand = "must" if sign == "+" else "not" if sign == "-" else "should"
    if quoted is not None:
        start = match.start(1)
        if demand == "should":
            demand = "must"
        return Clause(demand, field, quoted, start, start + len(quoted), True, int(slop or 0))
    start = match.start(3)
    prefix, fuzzy = word.endswith("*") and len(word) > 1, word.endswith("~") and len(word) > 1
    text = word[:-1] if prefix or fuzzy else word
    return Clause(demand, field, text, start, start + len(text), prefix=prefix, fuzzy=fuzzy)
