"""Configuration files: every problem at once, with file, key and the nearest known name."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from film_store import write_config

from mixline.node.config import keep_node_config, load_node_config, node_config
from mixline.node.errors import ConfigError
from mixline.tools.check import check
from mixline.tools.serve import options_from

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
    assert {"homefeed", "notifications", "rank", "related"} <= set(config.surfaces)
    assert load_node_config().surfaces["homefeed"].limit == 25


def test_what_a_nursery_kept_is_what_its_children_get(tmp_path, monkeypatch):
    monkeypatch.setattr("mixline.node.config._kept", {})
    path = str(write_config(tmp_path, homefeed="limit = 3\n"))
    assert node_config(path).surfaces["homefeed"].limit == 3
    keep_node_config(path)
    write_config(tmp_path, homefeed="limit = 4\n")
    assert node_config(path).surfaces["homefeed"].limit == 3
    keep_node_config(path)
    assert node_config(path).surfaces["homefeed"].limit == 4


@pytest.mark.parametrize("surface", ['[[source]]\nkind = "odd_components.WideSource"\nlast = 3\n', "limit = [[\n"])
def test_own_components_and_mistakes_are_left_to_the_child(tmp_path, monkeypatch, surface):
    monkeypatch.setattr("mixline.node.config._kept", kept := {})
    monkeypatch.delitem(sys.modules, "odd_components", raising=False)
    keep_node_config(str(write_config(tmp_path, homefeed=surface)))
    assert not any(kept) and "odd_components" not in sys.modules


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


def test_keys_of_the_node(tmp_path):
    path = tmp_path / "node.toml"
    keys = 'log = "json"\nhedge = false\nshare_scans = false\nmetrics = "127.0.0.1:9464"\n'
    path.write_text(keys + "[tenants]\nweb = 3\nbatch = 0.5\n")
    config = load_node_config(path)
    assert (config.log, config.hedge, config.metrics) == ("json", False, "127.0.0.1:9464")
    assert config.tenants == {"web": 3.0, "batch": 0.5}
    told = options_from(str(tmp_path), str(path), workers=3)
    assert (told.log, told.hedge, told.metrics, told.tenants) == ("json", False, config.metrics, config.tenants)
    assert config.share_scans is told.share_scans is False
    assert options_from(str(tmp_path), str(path), log="text").log == "text"
    plain = options_from(str(tmp_path), None)
    assert (plain.log, plain.hedge, plain.metrics, plain.tenants) == ("text", True, "", {})
    assert plain.share_scans


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('log = "xml"', "$.log"),
        ('hedge = "yes"', "$.hedge"),
        ("hegde = true", "unknown key 'hegde'; did you mean 'hedge'?"),
        ('metrics = "0.0.0.0:9464"', "metrics = '0.0.0.0:9464': only a loopback address"),
        ('metrics = "here"', "metrics = 'here': write HOST:PORT"),
        ("tenants = 3", "$.tenants"),
        ("[tenants]\nweb = 0", "tenants.web = 0: a weight is a number above 0"),
        ("[tenants]\nweb = -1.5", "tenants.web = -1.5"),
        ("[tenants]\nweb = inf", "tenants.web = inf"),
        ("[tenants]\nweb = nan", "tenants.web = nan"),
        ("[tenants]\nweb = true", "tenants.web = True"),
        ('[tenants]\nweb = "3"', "tenants.web = '3'"),
        ('[tenants]\n"" = 1', "tenants.'': a name has 1 to 16 ASCII characters"),
        ('[tenants]\n"höme" = 1', "tenants.'höme'"),
        (f"[tenants]\n{'x' * 17} = 1", "1 to 16 ASCII"),
        ("[tenants]\n" + "".join(f"t{at} = 1\n" for at in range(256)), "256 names, at most 255"),
    ],
)
def test_wrong_keys_of_the_node_are_named(tmp_path, text, said):
    path = tmp_path / "node.toml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError) as refused:
        load_node_config(path)
    assert said in str(refused.value) and str(path) in str(refused.value)


def test_serve_refuses_a_bad_node_file_with_78(tmp_path, film_store):
    path = tmp_path / "node.toml"
    path.write_text('metrics = "192.0.2.7:80"\nlog = "xml"\n[tenants]\nweb = 0\n')
    command = [sys.executable, "-m", "mixline.tools", "serve", "--store", str(film_store), "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78 and "$.log" in done.stderr and "Traceback" not in done.stderr
    path.write_text('metrics = "192.0.2.7:80"\n[tenants]\nweb = 0\n')
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78 and "only a loopback" in done.stderr and "tenants.web" in done.stderr
