"""A page of too few sources is none: which count, which do not, and what the request is told."""

import pytest
from film_store import near

from mixline.node.errors import ConfigError, InternalError

LOST = '[[source]]\nname = "lost"\nkind = "odd_components.RaisingSource"\n'
ABSENT = '[[source]]\nname = "absent"\nkind = "odd_components.AbsentSource"\n'
POPULAR = '[[source]]\nkind = "popular"\nlimit = 5\n'


def surface(share, *sources):
    return f"min_coverage = {share}\n" + near() + "".join(sources)


def test_a_page_needs_its_share_of_sources(node):
    serving = node(half=surface(0.5, LOST), all=surface(1.0, LOST), most=surface(0.66, LOST, POPULAR))
    page = serving.ask("half", user=1)
    assert page.status == "DEGRADED" and page.answered == 0.5 and len(page)
    assert serving.ask("most", user=1).answered == pytest.approx(2 / 3)
    with pytest.raises(InternalError, match=r"1 of 2 sources answered, less than min_coverage = 1; without 'lost'"):
        serving.ask("all", user=1)


def test_what_has_nothing_to_search_does_not_count(node):
    page = node(all=surface(1.0, ABSENT, POPULAR)).ask("all", user=1)
    states = {entry.name: entry.state for entry in page.coverage if entry.stage == "source"}
    assert states["absent"] == "disabled" and page.status == "OK" and page.answered == 1.0


def test_a_source_that_brings_nothing_has_answered(node):
    page = node(all=surface(1.0, POPULAR).replace('query = "user"', 'query = "text"')).ask("all", user=1)
    assert page.coverage[0].taken == 0 and page.status == "OK"


@pytest.mark.parametrize("share", ["-0.1", "1.5"])
def test_a_share_lies_between_0_and_1(node, share):
    with pytest.raises(ConfigError, match=r"min_coverage = .*0 \.\. 1"):
        node(odd=surface(share))
