"""What somebody meant who typed a word: by slips, by how common words are, and by what stands beside them."""

import pytest

from mixline.node.slips import AGAIN, BESIDE, CHANGED_OVER, DOUBLED, LEFT_OUT, OTHER, slip_cost
from mixline.tools.bench_spelling import beside, serving_texts


@pytest.mark.parametrize(
    ("typed", "meant", "cost"),
    [
        ("osng", "song", CHANGED_OVER),
        ("gardden", "garden", DOUBLED),
        ("hellop", "hello", BESIDE),  # p beside o
        ("helllo", "hello", DOUBLED),
        ("spce", "space", LEFT_OUT),
        ("spsce", "space", BESIDE),
        ("spqce", "space", BESIDE),
        ("sppce", "space", OTHER),
        ("spmace", "space", OTHER),
        ("fa", "fat", LEFT_OUT),
    ],
)
def test_slips_cost_by_kind(typed, meant, cost):
    assert slip_cost(typed, meant, 1) == cost
    assert slip_cost(typed, meant, 2) > AGAIN > OTHER


def test_keys_lie_beside_one_another_both_ways():
    assert set(beside("g")) == set("ftyhvb") and set(beside("q")) == set("wa") and set(beside("m")) == set("njk")
    for one in beside("g"):
        assert "g" in beside(one) and slip_cost(f"x{one}x", "xgx", 1) == BESIDE
    assert slip_cost("xpx", "xgx", 1) == OTHER


def test_what_is_meant_is_likely_and_stands_beside_the_rest():
    filler = [f"word{at} number{at}" for at in range(300)]
    texts = ["silent laugh"] * 40 + ["silent launch"] * 12 + ["rocket launch at dawn"] * 3 + ["the white tower"] * 5
    with serving_texts([*texts, *filler, *["help them"] * 4, "they say"]) as node:

        def meant(query):
            return node.ask("spelling", query=query, deadline_ms=10_000).spelling

        assert meant("laumch") == "launch"  # a neighbour, though the other is commoner, and further
        assert meant("rocket laubch") == "rocket launch"
        assert meant("hlp") == "help" and meant("zlp") == ""  # of three letters one may be left out behind the first
        assert meant("hslp") == meant("hep") == "help"
        assert meant("silent") == meant("white tower") == ""
