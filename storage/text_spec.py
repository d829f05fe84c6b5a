"""The part of a build specification that says how text is searched: analysis, weights, what is completed and corrected.

Keys of ``[text]`` hold for every text column of the items; ``[text.fields.NAME]`` says otherwise for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mixline.storage.analysis import GRAM_MAX, STEMS, AnalyserFacts, stemmer, stop_words
from mixline.storage.askers import USERS_MIN
from mixline.storage.errors import BadSpec
from mixline.storage.spec_checks import Check, above_zero, flag, number, one_of, source, text
from mixline.storage.stop_words import STOP_WORDS

if TYPE_CHECKING:
    from mixline.storage.spec import SpecReader

FIELDS_MAX = 16


class TextFieldSpec(msgspec.Struct, frozen=True):
    """One column as it is searched. ``weight``: how much more a word counts here than in a field of weight 1."""

    analyser: AnalyserFacts = AnalyserFacts()
    weight: float = 1.0
    positions: bool = True


class TextSpec(msgspec.Struct, frozen=True):
    """``k1`` and ``b`` of BM25 (Robertson and Zaragoza 2009); ``suggest``: the column whose texts complete what is
    typed, and ``queries`` a file of past queries (columns ``query`` and ``count``) that do too, ``queries_item`` its
    column of the items that were acted on then; ``queries_users``: how many different users must have asked a query
    before others are told of it; ``spelling``: whether words are kept as they are spelt, to correct queries by."""

    fields: dict[str, TextFieldSpec]
    k1: float = 0.9
    b: float = 0.4
    spelling: bool = True
    suggest: str = ""
    queries: str | None = None
    queries_item: str | None = None
    queries_users: int = USERS_MIN


def words_or_language(value: object) -> str | None:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return None
    return one_of(*STOP_WORDS)(value) and f"is {value!r} and must be a list of words or one of {', '.join(STOP_WORDS)}"


def lengths(value: object) -> str | None:
    good = (
        isinstance(value, list)
        and len(value) == 2
        and all(type(one) is int for one in value)
        and 1 <= value[0] <= value[1] <= GRAM_MAX
    )
    return None if good else f"is {value!r} and must be two lengths, from and to, of 1 to {GRAM_MAX}"


def share(value: object) -> str | None:
    wrong = number(0.0)(value)
    return wrong or (None if float(value) <= 1 else f"is {value!r} and must be a number from 0 to 1")  # type: ignore[arg-type]


OF_ALL = ("k1", "b", "spelling", "queries", "queries_item", "queries_users")


def at_least_one(value: object) -> str | None:
    good = type(value) is int and value >= 1
    return None if good else f"is {value!r} and must be a number of users, 1 or more"


FIELD: dict[str, Check] = {
    "words": one_of("unicode", "spaces", "whole"),
    "fold": flag,
    "stop": words_or_language,
    "stem": one_of("", *STEMS),
    "grams": lengths,
    "weight": above_zero,
    "positions": flag,
    "search": flag,
}
TEXT: dict[str, Check] = FIELD | {
    "k1": above_zero,
    "b": share,
    "spelling": flag,
    "suggest": text,
    "queries": source,
    "queries_item": text,
    "queries_users": at_least_one,
    "fields": lambda value: None if isinstance(value, dict) else "must be a table of tables",
}


def read_text(reader: SpecReader, raw: object, kinds: dict[str, str], given: bool) -> TextSpec | None:
    """What the table says, with its faults noted; None where no column is searched."""
    good = reader.section("text", raw, TEXT, ())
    searchable = [name for name, kind in kinds.items() if kind == "text"]
    if given and not searchable:
        reader.fault("text", 'needs a column of the items of kind "text" to search')
        return None
    tables: dict[str, Any] = good.pop("fields", {})
    for name in tables:
        if name not in searchable:
            reader.fault(f"text.fields.{name}", f"is no text column of the items; there are {', '.join(searchable)}")
    fields = {}
    for name in searchable:
        own = reader.section(f"text.fields.{name}", tables.get(name, {}), FIELD, ())
        keys = {key: value for key, value in {**good, **own}.items() if key in FIELD}
        if keys.pop("search", True):
            fields[name] = read_field(reader, name, keys)
    if len(fields) > FIELDS_MAX:
        reader.fault("text.fields", f"{len(fields)} columns; at most {FIELDS_MAX} are searched: say search = false")
    column = good.get("suggest", searchable[0] if searchable else "")
    if searchable and column not in searchable:
        reader.fault("text.suggest", f"is {column!r}, no text column of the items; there are {', '.join(searchable)}")
    if "queries_item" in good and "queries" not in good:
        reader.fault("text.queries_item", "names a column of the file of past queries: give queries too")
    if not fields:
        return None
    return TextSpec(fields, suggest=column, **{key: good[key] for key in OF_ALL if key in good})


def read_field(reader: SpecReader, name: str, keys: dict[str, Any]) -> TextFieldSpec:
    """One field; a stemmer that is not there is a fault."""
    stem = keys.get("stem", "")
    try:
        stemmer(stem)
    except BadSpec as error:
        reader.fault(f"text.fields.{name}", str(error))
    grams = keys.get("grams")
    analyser = AnalyserFacts(
        words=keys.get("words", "unicode"),
        fold=keys.get("fold", True),
        stop=stop_words(keys["stop"]) if "stop" in keys else (),
        stem=stem,
        grams=None if grams is None else (grams[0], grams[1]),
    )
    return TextFieldSpec(analyser, float(keys.get("weight", 1.0)), keys.get("positions", True))
