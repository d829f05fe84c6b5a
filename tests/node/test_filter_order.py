"""Filters that commute are asked by what they cost and drop, and the page is the same in any order."""

import itertools

import numpy as np
from film_store import ITEMS, near

from mixline.node.filter_order import FIRST, FilterOrder, Sifted

DEAR = '[[filter]]\nname = "{name}"\nkind = "odd_components.DearFilter"\nnth = {nth}\n{more}'
YEARS = '[[filter]]\nname = "years"\nkind = "predicate"\nwhere = "year > 1970"\n'
PRICES = '[[hydrator]]\nkind = "odd_components.PriceHydrator"\n'  # so that no source leaves out what is too cheap
CHEAP = '[[filter]]\nname = "cheap"\nkind = "predicate"\nwhere = "price < 20"\n'
EVEN = '[[filter]]\nname = "even"\nkind = "odd_components.EvenFilter"\n'


def entries(page):
    return {entry.name: entry for entry in page.coverage}


def dear(name, nth, more=""):
    return DEAR.format(name=name, nth=nth, more=more)


def test_what_is_dear_is_asked_last_about_what_is_left(node):
    serving = node(dear=near("user", PRICES, dear("dear", 7), CHEAP), plain=near("user", PRICES, CHEAP, EVEN))
    pages = [serving.ask("dear", user=1) for _ in range(FIRST + 1)]
    first, last = entries(pages[0]), entries(pages[-1])
    assert first["dear"].how == f"asked about {ITEMS}" == entries(pages[FIRST - 3])["dear"].how
    assert last["dear"].how == f"asked about {last['cheap'].taken}" and last["cheap"].taken < ITEMS
    assert last["dear"].taken == first["cheap"].taken == len(pages[0])
    assert len({page.ids.tobytes() + page.scores.tobytes() for page in pages}) == 1
    assert [entry.name for entry in pages[-1].coverage] == [entry.name for entry in pages[0].coverage]
    both = int(serving.engine.epoch.items.ids_of(np.array([(ITEMS - 1) // 7 * 7], np.uint32))[0])  # would drop this one
    assert serving.why_not("dear", both, user=1)["by"] == ["cheap"]


def test_what_does_not_commute_stays_where_it_is(node):
    serving = node(mixed=near("user", PRICES, dear("dear", 7), EVEN, CHEAP))
    found = [entries(serving.ask("mixed", user=1))["dear"].how for _ in range(FIRST + 1)]
    assert set(found) == {f"asked about {ITEMS}"}


def test_any_order_leaves_the_same(node):
    filters = [dear("third", 3, "takes_us = 2.0\n"), dear("fifth", 5, "takes_us = 2.0\n"), CHEAP, YEARS]
    named = {f"o{at}": near("user", PRICES, *some) for at, some in enumerate(itertools.permutations(filters))}
    serving = node(**named)
    for pipeline in serving.engine.pipelines.values():
        pipeline.choose_orders()
    pages = {name: serving.ask(name, user=2) for name in named}
    again = {name: serving.ask(name, user=2) for name in named}
    assert len({page.ids.tobytes() + page.scores.tobytes() for page in [*pages.values(), *again.values()]}) == 1


def test_the_order_is_by_what_a_drop_costs():
    class Step:
        def __init__(self, ns, dropped, commutes=True):
            self.commutes, self.sifted = commutes, Sifted()
            self.sifted.note(int(ns * 1000), 1000, int(dropped * 1000))

    steps = [Step(900, 0.1), Step(10, 0.01), Step(500, 0.5), Step(1, 0.9, False), Step(50, 0.0), Step(20, 0.5)]
    order = FilterOrder(steps)
    assert order.moves and order.places == [0, 1, 2, 3, 4, 5]
    order.choose()
    assert order.places == [1, 2, 0, 3, 5, 4]
    assert [step.sifted.partial for step in steps] == [True, False, True, False, False, False]
    assert steps[2].sifted.told() == "commutes: 500 ns a candidate, drops 50%; asked of what is left"


def test_it_is_chosen_at_a_few_counts_of_requests():
    class Step:
        commutes, sifted = True, Sifted()

    order = FilterOrder([Step(), Step()])
    assert [at for at in range(1, 3000) if order.due()] == [32, 128, 512, 2048]
