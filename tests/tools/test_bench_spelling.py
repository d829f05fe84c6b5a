"""The benchmark of spelling: queries are the same for a seed, slips make no known words, and figures add up."""

from collections import Counter

import pytest

from mixline.tools.bench_spelling import WORD, judged, queries, serving_texts

TEXTS = [f"the {a} of {b} and {c}" for a in ("garden", "fountain", "mountain") for b in ("summer", "winter", "castles")
         for c in ("butterflies", "hurricanes", "silence")]  # fmt: skip


def test_queries_are_misspelt_every_second_time():
    some = list(queries(TEXTS, 200, 3))
    assert some == list(queries(TEXTS, 200, 3)) != list(queries(TEXTS, 200, 4))
    known = {word for text in TEXTS for word in WORD.findall(text)}
    many = Counter(one.slips for one in some)
    assert many[0] == 100 and many[1] > 50 and many[2] > 5
    for one in some:
        wrong = [word for word in one.query.split() if word not in known]
        assert len(wrong) == bool(one.slips) and (one.query == one.meant) == (not one.slips)


def test_slips_are_put_right():
    with serving_texts(TEXTS) as node:
        found = judged(node, queries(TEXTS, 200, 5))
        assert found["precision"] > 0.9 and found["recall"] > 0.8 and found["meddling"] == 0
        told = iter(queries(TEXTS, 200, 5))
        right = sum(node.ask("spelling", query=one.query).spelling == one.meant for one in told if one.slips)
        assert found["recall"] == pytest.approx(right / 100)
