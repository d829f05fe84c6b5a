"""Queries as terms: fields of different chains, keywords, and what counts when there is too much."""

import pytest
from film_store import write_config
from test_text_source import SURFACE
from text_store import build_titles

from mixline.kernels.maxscore import LISTS_MAX
from mixline.node import Node
from mixline.node.text_terms import Translator
from mixline.storage.store import Store

MIXED = """
[text]
stop = "english"
[text.fields.title]
stem = "english"
weight = 3
[text.fields.plot]
words = "whole"
positions = false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("mixed")
    build_titles(found, MIXED)
    return found


def test_each_field_is_asked_in_its_own_words(folder):
    with Node.open(folder / "store", config=write_config(folder, texts=SURFACE.format(more=""))) as node:

        def ids(query):
            return set(node.ask("texts", query=query, limit=50).ids.tolist())

        assert ids("aliens") == ids("alien") == {107, 108, 109}
        assert ids('plot:"a story of dune and of space"') == {100}
        assert ids("plot:dune") == set()
        assert ids('"night at the opera"') == {102}
        assert ids('"opera the deep space"') == set()


def test_the_rarest_words_count(folder):
    with Store(folder / "store").open() as epoch:
        assert epoch.text is not None
        translator = Translator(epoch.text, ["title"], [1.0], fuzzy=False)
        words = [word.decode() for word, *_ in epoch.text.terms.words() if b" " not in word]
        terms = translator.terms(" ".join(words * 3) + " space" * 50 + " w".join(map(str, range(100))))
        assert len(terms.groups) <= LISTS_MAX
        kept = [group.readings[0].term for group in terms.groups]
        assert terms.times[kept.index("dune")] == 3
        weights = {}
        for query in ("space dune", "space space dune"):
            asked = translator.asked(translator.terms(query))
            weights[query] = {one[0]: one[3] for one in asked.lists}
        (start, *_), once = epoch.text.terms.find(b"space")[1:], weights["space dune"]
        assert weights["space space dune"] == {at: 2 * one if at == start else one for at, one in once.items()}
