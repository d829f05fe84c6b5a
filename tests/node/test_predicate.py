"""Predicates against Python's own evaluation of the same rows, and what is no predicate."""

import time

import numpy as np
import pytest
from film_store import films
from hypothesis import given, settings
from hypothesis import strategies as st

from mixline.kernels.accumulate import Scratch
from mixline.node.block import CandidateBlock
from mixline.node.call import Call
from mixline.node.inprocess import never
from mixline.node.predicate import PredicateError, compile_predicate
from mixline.node.request import Ask
from mixline.storage.store import Store


@pytest.fixture(scope="module")
def call(film_store):
    """A call whose block holds every film."""
    with Store(film_store).open() as epoch:
        made = Call(Ask(params={"least": 1980}), epoch, Scratch(), time.monotonic_ns(), never)
        rows = np.arange(epoch.items.count, dtype=np.uint32)
        made.block = CandidateBlock(np.zeros_like(rows), rows, epoch.items.keys)
        yield made


def compared(name, op, value):
    def holds(film):
        if film[name] is None:
            return False
        return {
            "<": film[name] < value,
            ">=": film[name] >= value,
            "==": film[name] == value,
            "!=": film[name] != value,
        }[op]

    return f"{name} {op} {value!r}", holds


atoms = st.one_of(
    st.builds(
        compared, st.sampled_from(["year", "price"]), st.sampled_from(["<", ">=", "==", "!="]), st.integers(-5, 2030)
    ),
    st.sampled_from(["north", "south", "nowhere"]).map(
        lambda text: (f'studio == "{text}"', lambda film: film["studio"] == text)
    ),
    st.sampled_from(["Drama", "War", "None"]).map(
        lambda text: (f'"{text}" in genres', lambda film: text in film["genres"])
    ),
    st.just(("missing(year)", lambda film: film["year"] is None)),
    st.just(("missing(genres)", lambda film: not film["genres"])),
    st.just(("colour", lambda film: film["colour"])),
    st.just(("price in [3, 4, 5]", lambda film: film["price"] in (3, 4, 5))),
    st.just(('studio in ["west", "north"]', lambda film: film["studio"] in ("west", "north"))),
    st.just(("1950 <= year < 2000", lambda film: film["year"] is not None and 1950 <= film["year"] < 2000)),
    st.just(
        ("year > params.least", lambda film: film["year"] is not None and film["year"] > 1980),
    ),
    st.just(("price * 2 - 1 < 30", None)),
)


def extend(children):
    def join(word, fold):
        return lambda a, b: (f"({a[0]} {word} {b[0]})", lambda film: fold([a[1](film), b[1](film)]))

    return st.one_of(
        st.builds(join("and", all), children, children),
        st.builds(join("or", any), children, children),
        children.map(lambda a: (f"(not {a[0]})", lambda film: not a[1](film))),
    )


@given(predicate=st.recursive(atoms.filter(lambda atom: atom[1] is not None), extend, max_leaves=6))
@settings(deadline=None, max_examples=150)
def test_equals_the_plain_evaluation(call, predicate):
    text, holds = predicate
    assert compile_predicate(text).holds(call).tolist() == [bool(holds(film)) for film in films()]


def test_arithmetic(call):
    got = compile_predicate("price * 2 - 1 < 30").holds(call)
    wanted = [film["price"] is not None and film["price"] * 2 - 1 < 30 for film in films()]
    known = [film["price"] is not None for film in films()]
    assert got[known].tolist() == [w for w, k in zip(wanted, known, strict=True) if k]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "year",
        "year >",
        "__import__('os').system('true')",
        "(lambda: 1)()",
        "year.__class__ == 3",
        "[x for x in genres]",
        "year if 1 else 2",
        "'a' < studio",
        "'a' in 'abc'",
        "year == 1; price == 2",
        "a" * 5000,
        "(" * 900 + "1" + ")" * 900,
    ],
)
def test_what_is_no_predicate_is_refused(text):
    if text == "year":
        assert compile_predicate(text).names == {"year"}
        return
    with pytest.raises(PredicateError):
        compile_predicate(text)
