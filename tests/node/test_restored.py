"""A node on a restored store answers the same bytes as one on the store that the snapshot was taken of."""

import io

import pytest
from film_store import USERS, build_store, films

from mixline.node.config import load_node_config
from mixline.node.engine import Engine
from mixline.node.inprocess import asked_now
from mixline.storage.restore import restore, restore_stream
from mixline.storage.snapshots import Snapshots, write_stream


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(tmp_path_factory.mktemp("films"))


def answers(store):
    """Status and body of asks to both shipped surfaces."""
    engine = Engine.open(store, load_node_config(None))
    asks = [{"surface": "homefeed", "user": user} for user in range(USERS)]
    asks += [{"surface": "related", "item": film["id"], "fields": ["title", "genres"]} for film in films()[:40]]
    pages = []
    for at, ask in enumerate(asks):
        page = engine.answer(*asked_now(**ask, deadline_ms=60_000, request_id=at + 1))
        pages.append(page)
    engine.close()
    return [(status, page_without_timing(body)) for status, body in pages]


def page_without_timing(body):
    import msgspec

    page = msgspec.msgpack.decode(body)
    page.pop("timing", None)
    page.pop("cursor", None)  # signed with a key of each store's own, in a second
    for each in page.get("coverage", ()):
        if isinstance(each, dict):
            each.pop("us", None)
    return msgspec.msgpack.encode(page, order="deterministic")


def test_a_restored_node_answers_the_same_bytes(store, tmp_path):
    expected = answers(store)
    assert len({body for _, body in expected}) > 40
    Snapshots.of(store).create(store)
    restore(Snapshots.of(store).path(), tmp_path / "folder")
    out = io.BytesIO()
    write_stream(store, out)
    restore_stream(io.BytesIO(out.getvalue()), "it", tmp_path / "stream")
    assert answers(tmp_path / "folder") == expected
    assert answers(tmp_path / "stream") == expected
