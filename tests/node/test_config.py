"""Configuration files: every problem at once, with file, key and the nearest known name."""

import json

import pytest
from click.testing import CliRunner
from film_store import write_config

from mixline.node.config import load_node_config
from mixline.node.errors import ConfigError
from mixline.tools.check import check

BAD = """
deadline = 5
limit = "many"
[[source]]
kind = "neerest"
[[source]]
kind = "popular"
limt = 5
[[source]]
kind = "popular"
limit = 0
[[filter]]
kind = "predicate"
where = "year >"
[[scorer]]
kind = "os.path"
[[selector]]
by = "x"
"""


def test_all_problems_are_said_at_once(tmp_path):
    config = write_config(tmp_path, bad=BAD)
    config.write_text('surfaces = "surfaces"\nworker = 3\n')
    with pytest.raises(ConfigError) as refused:
        load_node_config(config)
    text = str(refused.value)
    for said in (
        "unknown key 'worker'; did you mean 'workers'?",
        "unknown key 'deadline'; did you mean 'deadline_ms'?",
        "$.limit",
        "unknown kind 'neerest'; did you mean 'nearest'?",
        "unknown key 'limt'; did you mean 'limit'?",
        "limit = 0",
        "where: 'year >' cannot be read",
        "kind = 'os.path'",
        "needs kind",
    ):
        assert said in text, (said, text)
    assert text.count("bad.toml") == 8 or text.count("bad.toml") > 6


def test_a_surface_overrides_the_shipped_one_by_name(tmp_path):
    config = load_node_config(write_config(tmp_path, homefeed="limit = 3\n"))
    assert config.surfaces["homefeed"].limit == 3
    assert set(config.surfaces) == {"homefeed", "related"}
    assert load_node_config().surfaces["homefeed"].limit == 25


def test_one_name_twice_is_refused(tmp_path):
    config = write_config(tmp_path, one="", two="")
    (tmp_path / "surfaces" / "two.toml").write_text('name = "one"\n')
    with pytest.raises(ConfigError, match="also the name of"):
        load_node_config(config)


def test_check_says_what_is_wrong_and_exits_78(tmp_path, film_store):
    good = write_config(tmp_path / "good", mine='[[source]]\nkind = "popular"\n')
    done = CliRunner().invoke(check, [str(good), "--store", str(film_store)])
    assert done.exit_code == 0 and "mine" in done.output
    bad = write_config(tmp_path / "bad", mine='[[selector]]\nkind = "topk"\nby = "nothing"\n')
    done = CliRunner().invoke(check, [str(bad), "--store", str(film_store), "--json"])
    assert done.exit_code == 78
    assert "'nothing'" in json.loads(done.stdout)["problems"][0]
