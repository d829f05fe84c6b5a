"""Where the words of a query stand in an item's texts: a piece of each text, as HTML, with the words in ``<b>``."""

from __future__ import annotations

from collections.abc import Collection
from html import escape

from mixline.storage.analysis import Analyser, Token

LOOKED = 2000  # words of a text
CHARS = 160  # of a piece, about


def highlight(text: str, analyser: Analyser, terms: Collection[str], prefixes: tuple[str, ...]) -> str:
    """The piece of a text with most of the terms; "" where it has none."""
    tokens = list(analyser.tokens(text, LOOKED))
    hits = [one for one in tokens if one.term is not None and (one.term in terms or one.term.startswith(prefixes))]
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
    best, where = 0, 0
    for at, first in enumerate(hits):
        inside = {one.term for one in hits[at:] if one.end - first.start <= CHARS}
        if len(inside) > best:
            best, where = len(inside), first.start
    start = max(0, min(where - CHARS // 8, len(text) - CHARS))
    if start:
        space = text.rfind(" ", 0, start + 1)
        start = space + 1 if space >= start - CHARS // 8 else start
    end = min(len(text), start + CHARS)
    if end < len(text):
        space = text.find(" ", end)
        end = space if 0 <= space <= end + CHARS // 8 else end
    return start, end
