"""Where the words of a query stand in an item's texts: a piece of each text, as HTML, with the words in ``<b>``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from html import escape
from itertools import islice

from mixline.storage.analysis import Analyser, Token

LOOKED = 2000  # words of a text
SLICE = 64  # of them, between two looks at the clock
CHARS = 160  # of a piece, about


def highlight(
    text: str,
    analyser: Analyser,
    terms: Collection[str],
    prefixes: tuple[str, ...],
    stopped: Callable[[], bool] = lambda: False,
) -> str:
    """The piece of a text with most of the terms, as far as it was read when ``stopped`` said so; "" where it has
    none."""
    tokens = analyser.tokens(text, LOOKED)
    hits: list[Token] = []
    while some := list(islice(tokens, SLICE)):
        hits += [one for one in some if one.term is not None and (one.term in terms or one.term.startswith(prefixes))]
        if stopped():
            break
    if not hits:
        return ""
    start, end = piece(text, hits)
    parts, at = ["…" if start else ""], start
    for one in hits:
        if start <= one.start and one.end <= end:
            parts += [escape(text[at : one.start]), "<b>", escape(text[one.start : one.end]), "</b>"]
            at = one.end
    return "".join([*parts, escape(text[at:end]), "…" if end < len(text) else ""])


def piece(text: str, hits: list[Token]) -> tuple[int, int]:
    """Start and end of about CHARS characters that hold the most different terms, cut between words."""
    if len(text) <= CHARS:
        return 0, len(text)
    best, where, behind = 0, 0, 0
    inside: Counter[str | None] = Counter()
    for at, first in enumerate(hits):
        while behind < len(hits) and hits[behind].end - first.start <= CHARS:
            inside[hits[behind].term] += 1
            behind += 1
        if len(inside) > best:
            best, where = len(inside), first.start
        if behind == at:  # a word longer than a piece
            behind += 1
            continue
        inside[first.term] -= 1
        if not inside[first.term]:
            del inside[first.term]
    start = max(0, min(where - CHARS // 8, len(text) - CHARS))
    if start:
        space = text.rfind(" ", 0, start + 1)
        start = space + 1 if space >= start - CHARS // 8 else start
    end = min(len(text), start + CHARS)
    if end < len(text):
        space = text.find(" ", end)
        end = space if 0 <= space <= end + CHARS // 8 else end
    return start, end
