"""The session vector against a plain mean in Python, live and as built."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import films, near, node_with, write_inputs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mixline.node.errors import ConfigError
from mixline.tools.build import build

NOW, DAY = 1_800_000_000, 86_400
IDS = [film["id"] for film in films()[:8]]
WEIGHTS = {"buy": 4.0, "view": 0.5, "hide": 0.0}
RECENT = 'recent = { items = 3, half_life = "2d", actions = { buy = 4.0, view = 0.5, hide = 0.0 } }'
SURFACES = {
    "weighted": near("recent").replace("limit = 400\n\n[[sel", f"limit = 400\n{RECENT}\n[[sel"),
    "given": near("given"),
}
EVENT = st.tuples(
    st.integers(0, 1),
    st.sampled_from(IDS),
    st.one_of(st.integers(0, 5), st.integers(0, 20 * DAY)),
    st.sampled_from([*WEIGHTS, "like"]),
)


def build_with(folder, events):
    folder.mkdir(exist_ok=True)
    write_inputs(folder)
    lines = [f"{user},{item},{NOW - age},{action}\n" for user, item, age, action in events]
    (folder / "events.csv").write_text("user,item,time,action\n" + "".join(lines))
    spec = (folder / "spec.toml").read_text().replace('time = "time"', 'time = "time"\naction = "action"')
    (folder / "spec.toml").write_text(spec)
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return folder / "store"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    events = [(0, IDS[at % 5], (7 - at) * DAY, "view") for at in range(7)] + [(1, IDS[6], DAY, "hide")]
    folder = tmp_path_factory.mktemp("base")
    return build_with(folder, events), events, dict(zip(IDS, np.load(folder / "items.npy"), strict=False))


def plain_vector(events, user, vectors):
    """None for a user with nothing that counts."""
    mine = [
        (item, age, WEIGHTS.get(action, 1.0))
        for _, (one, item, age, action) in sorted(enumerate(events), key=lambda pair: (pair[1][2], -pair[0]))
        if one == user and WEIGHTS.get(action, 1.0)
    ][:12]
    newest = list(dict.fromkeys(item for item, _, _ in mine))[:3]
    total, weights = 0.0, 0.0
    for item in newest:
        best = max(weight * 2 ** (-(age - mine[0][1]) / (2 * DAY)) for one, age, weight in mine if one == item)
        total, weights = total + best * vectors[item].astype(np.float64), weights + best
    return total / weights if newest else None


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(drawn=st.lists(EVENT, max_size=14))
def test_it_is_the_weighted_mean_live_or_built(base, tmp_path_factory, drawn):
    store, built, vectors = base
    folder, events = tmp_path_factory.mktemp("case"), [*built, *drawn]
    shutil.copytree(store, folder / "living")
    with node_with(folder / "living", folder, **SURFACES) as node:
        for user, item, age, action in drawn:
            node.record(user, item, action, NOW - age)
        live = [node.ask("weighted", user=user) for user in range(2)]
        for user, page in enumerate(live):
            expected = plain_vector(events, user, vectors)
            if expected is None:
                assert not len(page)
                continue
            plain = node.ask("given", vector=expected.astype(np.float32))
            scores = dict(zip(plain.ids.tolist(), plain.scores.tolist(), strict=True))
            assert {*page.ids.tolist()} == scores.keys()
            for one, score in zip(page.ids.tolist(), page.scores.tolist(), strict=True):
                assert score == pytest.approx(scores[one], abs=2e-4)
    with node_with(build_with(folder / "again", events), folder / "again", **SURFACES) as node:
        for user, page in enumerate(live):
            again = node.ask("weighted", user=user)
            assert again.ids.tolist() == page.ids.tolist() and again.scores.tobytes() == page.scores.tobytes()


@pytest.mark.parametrize(
    ("recent", "words"),
    [
        ("{ items = 0 }", "recent.items = 0: must lie in 1 .. 1000"),
        ('{ half_life = "soon" }', "recent.half_life: 'soon' is no span of time"),
        ('{ half_life = "5s" }', "must be at least 60s"),
        ("{ actions = { buy = -1.0 } }", "recent.actions: buy = -1.0: a weight lies in 0"),
        ("{ itms = 5 }", "itms"),
    ],
)
@pytest.mark.parametrize("stage", ["source", "scorer"])
def test_what_is_wrong_with_it_is_said(base, tmp_path, recent, words, stage):
    kind = {"source": "nearest", "scorer": "dot"}[stage]
    given = '[[source]]\nkind = "given"\n' if stage == "scorer" else ""
    text = f'{given}[[{stage}]]\nkind = "{kind}"\nquery = "recent"\nrecent = {recent}\n'
    with pytest.raises(ConfigError, match=words):
        node_with(base[0], tmp_path, bad=text)
