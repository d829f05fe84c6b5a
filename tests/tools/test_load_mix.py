"""Traffic mixes: drawn by weight and by Zipf, repeatable by seed, and refused with the place of the mistake."""

import json

import msgspec
import numpy as np
import pytest

from mixline.node.config import load_node_config
from mixline.node.request import decode_ask
from mixline.tools.load_mix import MixError, mix_from_file, zipf_rows

SURFACES = load_node_config().surfaces
MIX = """
[[ask]]
surface = "homefeed"
weight = 3
users = [1, 2, 3]
limits = [10, 25]
tenants = ["web", "app"]
priorities = [0, 200]
deadline_ms = 40
params = { fresh = true }

[[ask]]
surface = "related"
item = 7
"""


def write(folder, text, name="mix.toml"):
    file = folder / name
    file.write_text(text)
    return file


def test_asks_are_drawn_by_weight_from_the_lists(tmp_path):
    mix = mix_from_file(write(tmp_path, MIX), SURFACES, seed=1, drawn=4000)
    shares = mix.describe()["surfaces"]
    assert 0.7 < shares["homefeed"] < 0.8 and abs(shares["homefeed"] + shares["related"] - 1) < 1e-9
    assert len(mix.asks) == 3 * 2 * 2 * 2 + 1 == mix.describe()["distinct_asks"]
    for (header, body), surface, deadline_us in zip(mix.asks, mix.surfaces, mix.deadlines_us, strict=True):
        ask = decode_ask(body)
        assert header.surface == surface and header.budget_us == deadline_us
        if surface == "homefeed":
            assert ask.user in (1, 2, 3) and ask.limit in (10, 25) and ask.params == {"fresh": True}
            assert header.tenant in ("web", "app") and header.priority in (0, 200) and deadline_us == 40_000
        else:
            assert ask.item == 7 and deadline_us == SURFACES["related"].deadline_ms * 1000


def test_a_seed_repeats_and_runs_may_be_longer_than_the_draw(tmp_path):
    file = write(tmp_path, MIX)
    one, same, other = (mix_from_file(file, SURFACES, seed, drawn=100) for seed in (1, 1, 2))
    assert one.asks == same.asks and (one.order == same.order).all()
    assert (one.asks, one.order.tolist()) != (other.asks, other.order.tolist())
    assert (one.which(250) == np.concatenate([one.order, one.order, one.order[:50]])).all()


def test_json_lines(tmp_path):
    lines = [{"surface": "homefeed", "user": at, "deadline_ms": 5} for at in range(3)]
    mix = mix_from_file(write(tmp_path, "\n".join(map(json.dumps, lines)), "mix.jsonl"), SURFACES, 1, 500)
    assert sorted(decode_ask(body).user for _, body in mix.asks) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("[[ask]]\nsurfice = 'x'", "mix.toml", "surfice"),
        ("[[ask]]\nweight = 2", "mix.toml", "surface"),
        ("ask = 3", "mix.toml", r"\[\[ask\]\]"),
        ("not toml", "mix.toml", "mix.toml"),
        ("[[ask]]\nsurface='homefeed'\nweight=0", "mix.toml", r"ask\[0\]: weight"),
        ("[[ask]]\nsurface='homefeed'\nuser=1\nusers=[2]", "mix.toml", "user or users"),
        ("[[ask]]\nsurface='homefed'\nuser=1", "mix.toml", "no surface 'homefed'.*homefeed"),
        ("[[ask]]\nsurface='homefeed'\nuser=1\npriority=300", "mix.toml", "priority|header"),
        ("[[ask]]\nsurface='homefeed'\nuser=1\ndeadline_ms=-1", "mix.toml", "deadline_ms"),
        ('{"surface": "homefeed"}\n{"surface": 3}', "mix.jsonl", "mix.jsonl:2"),
        ("", "mix.jsonl", "no ask"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path, text, name, words):
    with pytest.raises(MixError, match=words) as caught:
        mix_from_file(write(tmp_path, text, name), SURFACES, 1, 10)
    assert caught.value.exit_code == 65


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MixError, match="nowhere"):
        mix_from_file(tmp_path / "nowhere.toml", SURFACES, 1)


def test_zipf_frequencies_fall_as_they_should():
    rows = zipf_rows(np.random.default_rng(3), 1000, 1.0, 200_000)
    counts = np.sort(np.bincount(rows, minlength=1000))[::-1]
    harmonic = (1 / np.arange(1, 1001)).sum()
    for rank in (1, 2, 10, 50):
        assert counts[rank - 1] / 200_000 == pytest.approx(1 / rank / harmonic, rel=0.1)
    assert rows.max() < 1000
    flat = np.bincount(zipf_rows(np.random.default_rng(3), 10, 0.0, 100_000), minlength=10)
    assert flat.min() > 9000


def test_mix_entries_have_no_key_that_asks_lack():
    from mixline.tools.load_mix import MixEntry

    assert {"user", "item", "query", "limit", "params", "fields"} <= {f.name for f in msgspec.structs.fields(MixEntry)}
