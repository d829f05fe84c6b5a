"""A missing value of any kind counts as nothing in a score, and no comparison or arithmetic is true of it."""

import numpy as np
import pytest
from film_store import films, node_with

from mixline.node.errors import BadRequest, ConfigError
from mixline.node.request import prepare

GIVEN = '[[source]]\nkind = "given"\n'
TOPK = '[[selector]]\nkind = "topk"\nby = "{by}"\n'


def weighted(terms: str) -> str:
    return f'{GIVEN}[[scorer]]\nname = "final"\nkind = "weighted"\nterms = {{ {terms} }}\n' + TOPK.format(by="final")


def where(text: str) -> str:
    return f"{GIVEN}[[filter]]\nkind = \"predicate\"\nwhere = '{text}'\n"


def served(store, folder, surface, **more):
    with node_with(store, folder, probe=surface) as node:
        return node.ask("probe", candidates=[film["id"] for film in films()], limit=1000, **more)


@pytest.mark.parametrize("column", ["year", "price", "colour"])
def test_a_missing_term_counts_as_nothing(film_store, tmp_path, column):
    page = served(film_store, tmp_path, weighted(f"{column} = 1.0"), explain=True)
    value = {film["id"]: float(film[column] or 0) for film in films()}
    assert page.status == "OK" and len(page) == len(value)
    assert page.scores.tolist() == [value[one] for one in page.ids.tolist()]
    assert [reason["terms"]["final"][column] for reason in page.explain] == page.scores.tolist()


def test_a_missing_value_is_ordered_last(film_store, tmp_path):
    page = served(film_store, tmp_path, GIVEN + TOPK.format(by="price"))
    price = {film["id"]: film["price"] for film in films()}
    have = [price[one] for one in page.ids.tolist() if price[one] is not None]
    assert have == sorted(have, reverse=True) and np.isnan(page.scores[len(have) :]).all()


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("price * 2 < 40", lambda f: f["price"] is not None and f["price"] * 2 < 40),
        ("price + 1 != 3", lambda f: f["price"] is not None and f["price"] + 1 != 3),
        ("-year < 0", lambda f: f["year"] is not None),
        ('studio not in ["north"]', lambda f: f["studio"] not in (None, "north")),
        ('"War" not in genres', lambda f: "War" not in f["genres"]),
        ("price in [1, 2, 18446744073709551616]", lambda f: f["price"] in (1, 2)),
        ("price / 0 > 1", lambda f: f["price"] is not None),
        ("1 / 0 < 2", lambda f: False),
        ("price + 18446744073709551616 > 0", lambda f: f["price"] is not None),
    ],
)
def test_predicates(film_store, tmp_path, text, holds):
    page = served(film_store, tmp_path, where(text))
    assert page.status == "OK"
    assert sorted(page.ids.tolist()) == [film["id"] for film in films() if holds(film)]


@pytest.mark.parametrize(
    ("surface", "why"),
    [
        (weighted("studio = 1.0"), "studio"),
        (weighted("genres = 1.0"), "genres"),
        (weighted("year = nan"), "finite"),
        (GIVEN + TOPK.format(by="studio"), "studio"),
        (GIVEN + TOPK.format(by="year") + "limit = -1\n", "limit"),
        (GIVEN + '[[filter]]\nkind = "duplicate"\nby = "genres"\n', "genres"),
        (GIVEN + '[[hydrator]]\nkind = "columns"\ncolumns = []\n', "columns"),
        (GIVEN + '[[source]]\nkind = "item_to_item"\nseeds = 0\n', "seeds"),
        (where("missing(studio) and studio == 1"), "compared with a number"),
        (where(f"price < 1{'0' * 400}"), "cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_when_loaded(film_store, tmp_path, surface, why):
    with pytest.raises(ConfigError, match=why):
        node_with(film_store, tmp_path, probe=surface)


def test_a_skipped_scorer_leaves_a_degraded_page(film_store, tmp_path):
    bad = '[[scorer]]\nname = "final"\nkind = "odd_components.ShortScorer"\n'
    page = served(film_store, tmp_path, GIVEN + bad + TOPK.format(by="final"))
    assert (
        page.status == "DEGRADED"
        and len(page) == len(films())
        and np.isnan(page.scores).sum() + np.isneginf(page.scores).sum() == len(page)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"user": "\ud800"},
        {"request_id": "\ud800"},
        {"vector": ["a"]},
        {"vector": [[[1.0]]]},
        {"deadline_ms": "x"},
        {"params": 3},
    ],
)
def test_arguments_of_the_wrong_kind_are_bad_requests(arguments):
    with pytest.raises(BadRequest):
        prepare("homefeed", **arguments)


@pytest.mark.parametrize("column", ["studio", "genres", "price", "colour"])
def test_missing_values_are_not_capped(film_store, tmp_path, column):
    """Not even when the first value of all has the code that stands where none is."""
    cap = f'[[selector]]\nkind = "category_cap"\ncolumn = "{column}"\nmax = 2\n'
    page = served(film_store, tmp_path, GIVEN + TOPK.format(by="year") + "limit = 1000\n" + cap)
    by_id = {film["id"]: film for film in films()}

    def value(film):
        found = film[column]
        return (found[0] if found else None) if isinstance(found, list) else found

    served_values = [value(by_id[one]) for one in page.ids.tolist()]
    assert served_values.count(None) == sum(value(film) is None for film in by_id.values())
    for one in {value(film) for film in by_id.values()} - {None}:
        assert served_values.count(one) == min(2, sum(value(film) == one for film in by_id.values()))
