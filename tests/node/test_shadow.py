"""Shadows: answered on the same state after the reply, dropped when anything is asked, seen in the journal alone."""

import time

import msgspec
import pytest
from click.testing import CliRunner
from film_store import build_store, near, node_with, write_config
from node_process import running, wait_until

from mixline.node import Client
from mixline.node.config import load_node_config
from mixline.node.errors import ConfigError
from mixline.node.inprocess import Node
from mixline.node.readings import MeterReader
from mixline.storage.journal_reader import Journal
from mixline.tools.journal import journal as command

EFFECT = '[[side_effect]]\nkind = "journal"\n'
BRINGS = 'query = "user"\nlimit = {}'
SERVED = near().replace(BRINGS.format(400), BRINGS.format(20)) + EFFECT
OTHER = near().replace(BRINGS.format(400), BRINGS.format(50)) + EFFECT


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path)


def config_with(tmp_path, share=1.0, served=SERVED, other=OTHER):
    write_config(tmp_path / "next", feed=other)
    config = write_config(tmp_path, feed=served)
    config.write_text(config.read_text() + f'[shadow]\nconfig = "next/node.toml"\nshare = {share}\n')
    return config


def found(store):
    journal = Journal(store / "journal")
    return {shadow: {entry.request_id: entry for entry in journal.entries(shadow=shadow)} for shadow in (False, True)}


def ids(entry):
    return entry.item_ids[entry.columns["slate"]].tolist()


def test_what_a_shadow_answers_is_what_the_other_configuration_does(store, tmp_path):
    with Node.open(store, config_with(tmp_path), effects=True) as node:
        pages = [node.ask("feed", user=user, limit=40) for user in range(10)]
        assert len(node.engine.shadow.waiting) == 10
        node.engine.idle(lambda: False)
        assert not node.engine.shadow.waiting
    both = found(store)
    assert len(both[False]) == len(both[True]) == 10
    with node_with(store, tmp_path / "next", feed=OTHER) as other:
        for user, page in enumerate(pages):
            assert ids(both[False][page.request_id]) == page.ids.tolist()
            assert ids(both[True][page.request_id]) == other.ask("feed", user=user, limit=40).ids.tolist()
            assert len(ids(both[True][page.request_id])) == 40 > len(page)
    told = CliRunner().invoke(command, ["compare", "--store", str(store), "--json"])
    difference = msgspec.json.decode(told.output)
    assert difference["requests"] == 10 and difference["overlap"] == 0.5 and difference["moved"] == 0
    assert "overlap" in CliRunner().invoke(command, ["compare", "--store", str(store)]).output


def test_it_is_dropped_when_anything_is_asked(store, tmp_path):
    with Node.open(store, config_with(tmp_path), effects=True) as node:
        counted = []
        node.engine.shadow.count = counted.append
        looks = []

        def waits():
            looks.append(1)
            return len(looks) > 2

        node.ask("feed", user=1)
        assert node.engine.idle(waits) == 0
        assert counted == ["shadows_dropped"] and len(looks) <= 4
        for user in range(20):
            node.ask("feed", user=user)
        assert counted == ["shadows_dropped"] * 5 and len(node.engine.shadow.waiting) == 16
        assert node.engine.idle(lambda: True) == 1
    assert not found(store)[True]


def test_a_share_of_the_requests(store, tmp_path):
    with Node.open(store, config_with(tmp_path, share=0.3), effects=True) as node:
        wants = node.engine.shadow.wants
        assert 230 < sum(wants("feed", at.to_bytes(16, "little")) for at in range(1000)) < 370
        assert not wants("nothing", bytes(16))


def test_bad_shadows_refuse_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match="limit = 0: must lie in 1"):
        load_node_config(config_with(tmp_path, other=OTHER.replace("limit = 50", "limit = 0")))
    with pytest.raises(ConfigError, match=r"shadow.share = 2.0"):
        load_node_config(config_with(tmp_path, share=2.0))
    config_with(tmp_path / "next")
    with pytest.raises(ConfigError, match="a shadow has none"):
        load_node_config(config_with_shadowed_shadow(tmp_path))


def config_with_shadowed_shadow(tmp_path):
    config = config_with(tmp_path)
    other = tmp_path / "next" / "node.toml"
    other.write_text(other.read_text() + '[shadow]\nconfig = "x.toml"\n')
    return config


def test_a_served_node_shadows_while_it_is_calm(store, tmp_path):
    serve = ["--config", config_with(tmp_path)]
    with running(tmp_path, store=store, workers=1, serve=serve) as node, Client(node.endpoint) as client:
        reader = MeterReader.open(node.info()["meters"])
        for user in range(30):
            client.ask("feed", user=user)
            time.sleep(0.005)
        client.ask_many([{"surface": "feed", "user": at % 39} for at in range(400)])

        def counted():
            counters = [seat.counters for seat in reader.read().seats]
            return [sum(each[name] for each in counters) for name in ("shadows", "shadows_dropped")]

        wait_until(lambda: sum(counted()) == 430)
        done, dropped = counted()
        assert done >= 10 and dropped > 0
    both = found(store)
    assert len(both[False]) == 430 and len(both[True]) == done
