"""Who acted on each item: the other side of the seen sets."""

import numpy as np

from mixline.storage.arrays import write_array
from mixline.storage.cooccurrence import build_seen_by
from mixline.storage.progress import Silence


def test_it_is_the_other_side(tmp_path, monkeypatch):
    from mixline.storage import cooccurrence

    monkeypatch.setattr(cooccurrence, "CHUNK", 7)
    rng = np.random.default_rng(2)
    has = rng.random((30, 12)) < 0.3
    has[4] = False
    has[:, 3] = False
    graph = tmp_path / "graph"
    graph.mkdir()
    write_array(graph / "seen_indptr.npy", np.concatenate(([0], np.cumsum(has.sum(axis=1)))))
    write_array(graph / "seen_rows.npy", np.nonzero(has)[1].astype("<u4"))
    build_seen_by(tmp_path, 12, Silence())
    ends, users = np.load(graph / "seen_by_indptr.npy"), np.load(graph / "seen_by_users.npy")
    assert ends.dtype == np.int64 and users.dtype == np.uint32 and len(ends) == 13
    for item in range(12):
        assert users[ends[item] : ends[item + 1]].tolist() == np.flatnonzero(has[:, item]).tolist()
