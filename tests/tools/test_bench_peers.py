"""The peers' frames and the judge of their answers: a contender is only worth timing when it is right."""

import click
import msgspec
import numpy as np
import pytest

from mixline.tools.bench_broker import c_proxy, echo_request, figures_of, measure
from mixline.tools.bench_serving import ratios
from mixline.tools.proxy_build import build_proxy, wheel_library
from mixline.tools.serving_contenders import free_port, from_columns, from_json, http_get, http_post
from mixline.tools.serving_data import CANDIDATES, PAGE, Reference, recall_of


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    rng = np.random.default_rng(4)
    shapes = {"items": (2000, 8), "users": (5, 8), "features": (2000, 3), "weights": (3,)}
    for name, shape in shapes.items():
        np.save(folder / f"{name}.npy", rng.standard_normal(shape, dtype=np.float32))
    np.save(folder / "ids.npy", rng.permutation(9000)[:2000].astype(np.uint64))
    found = Reference(folder)
    found.ids = np.load(folder / "ids.npy", allow_pickle=False)
    return found


def right_page(reference, user):
    similarity = reference.items @ reference.users[user]
    rows = np.argsort(-similarity)[:CANDIDATES]
    total = (similarity + reference.extra)[rows]
    best = np.argsort(-total)[:PAGE]
    return reference.ids[rows[best]], total[best].astype(np.float32)


def test_the_right_page_is_accepted(reference):
    for user in range(5):
        assert reference.fault(user, *right_page(reference, user)) == ""


def test_wrong_pages_are_not(reference):
    ids, scores = right_page(reference, 1)
    assert "different" in reference.fault(1, ids[:-1], scores[:-1])
    assert "different" in reference.fault(1, np.append(ids[:-1], ids[0]), scores)
    assert "other items" in reference.fault(1, ids[::-1], scores[::-1])
    assert "other items" in reference.fault(2, ids, scores)
    assert "scores" in reference.fault(1, ids, scores + np.float32(0.01))
    stranger = ids.copy()
    stranger[3] = 10**9
    assert "different" in reference.fault(1, stranger, scores)


def page_without(reference, user, lost):
    """The page of candidates that lack some of the true ones, whose places the next ones take."""
    similarity = reference.items @ reference.users[user]
    rows = np.delete(np.argsort(-similarity), lost)[:CANDIDATES]
    total = (similarity + reference.extra)[rows]
    best = np.argsort(-total)[:PAGE]
    return reference.ids[rows[best]], total[best].astype(np.float32)


def test_a_page_shows_the_recall_of_its_candidates(reference):
    assert [reference.found(user, *right_page(reference, user)) for user in range(5)] == [("", 1.0)] * 5
    rng = np.random.default_rng(3)
    lost = [rng.choice(CANDIDATES, CANDIDATES // 5, replace=False) for _ in range(100)]
    shares = [reference.found(at % 5, *page_without(reference, at % 5, lost[at]))[1] for at in range(100)]
    recall, noise = recall_of(shares)
    assert 0 < noise < 0.05 and abs(recall - 0.8) < 0.05
    ids, scores = right_page(reference, 1)
    for why, page in {
        "order": (ids[::-1], scores[::-1]), "scores": (ids, scores + 1), "different": (ids[:-1], scores[:-1]),
    }.items():  # fmt: skip
        assert why in reference.found(1, *page)[0]


def test_answers_mean_the_same_in_every_format(reference):
    ids, scores = right_page(reference, 0)
    columns = msgspec.msgpack.encode({"ids": ids.tobytes(), "scores": scores.tobytes()})
    lists = msgspec.json.encode({"ids": ids.tolist(), "scores": scores.tolist()})
    for got_ids, got_scores in (from_columns(columns), from_json(lists)):
        assert (got_ids == ids).all() and (got_scores == scores).all()


def test_http_requests_are_whole():
    assert http_get(42).startswith(b"GET /recommend?user=42 HTTP/1.1\r\n") and http_get(42).endswith(b"\r\n\r\n")
    head, _, body = http_post(42).partition(b"\r\n\r\n")
    assert body == b"42" and b"Content-Length: 2" in head
    assert 0 < free_port() < 65536


def test_ratios_are_ours_over_theirs():
    def result(rate, p99, pss):
        return {"highest_rate": rate, "at_common": {"p99_ms": p99}, "pss_mb": pss}

    peers = {"mosec_lmdb": result(250, 8, 90), "fastapi_mapped": result(500, 4, 100)}
    found = ratios({"mixline": result(1000, 2, 50), **peers})
    assert found == {
        "rate_to_mosec_lmdb": 4, "p99_to_mosec_lmdb": 0.25, "rate_to_fastapi_mapped": 2, "pss_to_fastapi_mapped": 0.5,
        "rate_to_best_peer": 2,
    }  # fmt: skip


def test_the_c_proxy_echoes(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXLINE_BENCH_CACHE", str(tmp_path / "cache"))
    try:
        proxy = build_proxy()
    except click.ClickException as error:
        pytest.skip(f"the C peer needs gcc and zmq.h: {str(error)[:100]}")
    assert proxy.version.startswith("4.") and (wheel_library() is None or "wheel" in proxy.library)
    with c_proxy(tmp_path / "peer", proxy) as contender:
        seen = measure("c_proxy", contender, 1024, 16, 0.3)
    assert seen.pace > 0 and set(seen.cpu_us) <= {"proxy", "worker"}
    assert figures_of([seen])["requests_per_s"] == round(seen.pace)
    assert len(echo_request(7)[1]) == 7
