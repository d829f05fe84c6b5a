"""However data came to be what it is, the answers are the same: applied live, built from scratch, folded half way, over
restarts, through snapshots, and with a writer that is killed between or within any two steps."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from click.testing import CliRunner
from film_store import BLOCKED, SEEN, STUDIOS, build_store, films, near, node_with, vector, write_inputs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mixline.node.compaction import compact
from mixline.storage.restore import restore
from mixline.storage.snapshots import Snapshots
from mixline.tools.build import build

NEW = 900_001
USERS = 4
SURFACES = {
    "given": near("given"),
    "look": near("given").replace('space = "taste"', 'space = "look"'),
    "fresh": near("user", SEEN, BLOCKED),
    "recent": near("recent"),
}
FIELDS = ["title", "year", "price", "studio", "genres", "colour"]
IDS = [film["id"] for film in films()[:6]] + [NEW, NEW + 1]
COLUMNS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["a", "b"]),
        "year": st.one_of(st.none(), st.floats(1900, 2100, width=32)),
        "price": st.one_of(st.none(), st.integers(0, 99)),
        "studio": st.one_of(st.none(), st.sampled_from([*STUDIOS, "east"])),
        "genres": st.lists(st.sampled_from(["War", "Noir", "Drama"]), max_size=2),
        "colour": st.one_of(st.none(), st.booleans()),
    },
)
OPERATION = st.one_of(
    st.tuples(st.just("upsert_item"), st.sampled_from(IDS), COLUMNS, st.integers(0, 3)),
    st.tuples(st.just("patch_item"), st.sampled_from(IDS), COLUMNS, st.one_of(st.none(), st.integers(0, 3))),
    st.tuples(st.just("delete_item"), st.sampled_from(IDS)),
    st.tuples(st.just("events"), st.integers(0, USERS - 1), st.sampled_from(IDS)),
    st.tuples(
        st.sampled_from(["block", "block", "unblock"]),
        st.one_of(st.none(), st.integers(0, USERS - 1)),
        st.one_of(
            st.builds(lambda one: {"item": one}, st.sampled_from(IDS)),
            st.builds(lambda one: {"creator": one}, st.sampled_from([*STUDIOS, "east"])),
            st.builds(lambda one: {"column": "genres", "value": one}, st.sampled_from(["War", "Noir"])),
        ),
    ),
)
STEP = st.one_of(
    *[OPERATION] * 5,
    st.tuples(st.sampled_from(["commit", "restart", "fold", "snapshot", "kill"]), st.integers(0, 8)),
)


def as_operation(drawn, at):
    kind, *rest = drawn
    if kind == "delete_item":
        return {"op": kind, "id": rest[0]}
    if kind == "events":
        return {"op": kind, "users": [rest[0]], "items": [rest[1]], "times": [1_800_000_000 + at]}
    if kind.endswith("block"):
        return {"op": kind, **rest[1], **({} if rest[0] is None else {"user": rest[0]})}
    one, columns, place = rest
    vectors = {} if place is None else {name: vector(place) for name in ("taste", "look")}
    return {"op": kind, "id": one, "columns": columns, "vectors": vectors}


def makes_sense(op, exists):
    """Whether an operation can be applied to what exists, which it changes."""
    if op["op"] == "upsert_item":
        exists.add(op["id"])
        return True
    if op["op"] == "events":
        return op["items"][0] in exists
    if op["op"].endswith("block"):
        return op.get("item") is None or op["item"] in exists
    if op["id"] not in exists:
        return False
    if op["op"] == "delete_item":
        exists.discard(op["id"])
    return True


class Living:
    """A store that operations are applied to, in batches that are sent again when it is not sure that they arrived."""

    def __init__(self, pristine, folder):
        self.folder, self.store = folder, folder / "living"
        shutil.copytree(pristine, self.store)
        self.node = node_with(self.store, folder, **SURFACES)
        self.waiting, self.sequence = [], 0

    def commit(self, _=0):
        """Apply what waits; a batch that arrived already is known."""
        if self.waiting:
            self.sequence += 1
            self.node.apply(self.waiting, client="test", sequence=self.sequence)
            self.waiting = []

    def reopen(self):
        self.node = node_with(self.store, self.folder, **SURFACES)

    def restart(self, _):
        self.node.close()
        self.reopen()

    def fold(self, _):
        """Beside a node that goes on; what waits is written to the old epoch and the new one gets it from the log."""
        compact(self.store)
        self.commit()
        self.restart(0)

    def snapshot(self, number):
        """Go on with a copy in another place."""
        self.commit()
        self.node.close()
        taken = Snapshots(self.folder / "snapshots").create(self.store)
        self.store = self.folder / f"restored-{number}-{self.sequence}-{taken.number}"
        restore(self.folder / "snapshots" / f"{taken.number:06d}", self.store)
        self.reopen()

    def kill(self, delay):
        """Another process writes what waits and is killed meanwhile, ``delay`` half milliseconds after it began."""
        self.node.close()
        ready, says = os.pipe()
        pid = os.fork()
        if pid == 0:  # no pytest in here, and no clean end
            try:
                node = node_with(self.store, self.folder, **SURFACES)
                os.write(says, b"x")
                if self.waiting:
                    node.apply(self.waiting, client="test", sequence=self.sequence + 1)
                time.sleep(60)
            finally:
                os._exit(1)
        os.close(says)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        time.sleep(delay / 2000)
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        self.reopen()
        self.commit()


def build_from_scratch(folder, operations):
    """What the same operations make of the input files."""
    write_inputs(folder)
    rows = {film["id"]: film for film in films()}
    matrix = dict(zip(rows, np.load(folder / "items.npy"), strict=True))
    lines = []
    for op in operations:
        if op["op"].endswith("block"):
            continue  # no file says so
        if op["op"] == "events":
            lines += [f"{op['users'][0]},{op['items'][0]},{op['times'][0]}\n"]
        elif op["op"] == "delete_item":
            del rows[op["id"]], matrix[op["id"]]
        else:
            start = rows[op["id"]] if op["op"] == "patch_item" else dict.fromkeys(films()[0])
            rows[op["id"]] = {**start, **op["columns"], "id": op["id"]}
            if "taste" in op["vectors"]:
                matrix[op["id"]] = op["vectors"]["taste"]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    np.save(folder / "items.npy", np.stack([matrix[one] for one in rows]))
    with (folder / "events.csv").open("a") as file:
        file.writelines(lines)
    spec = (folder / "spec.toml").read_text().replace('time = "time"', 'time = "time"\nunknown = "skip"')
    (folder / "spec.toml").write_text(spec)
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return folder / "store"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return build_store(tmp_path_factory.mktemp("pristine"))


def check(pristine, folder, steps):
    living, applied, exists = Living(pristine, folder), [], {film["id"] for film in films()}
    try:
        for at, step in enumerate(steps):
            if hasattr(living, step[0]):
                getattr(living, step[0])(step[1])
                continue
            op = as_operation(step, at)
            if makes_sense(op, exists):
                applied.append(op)
                living.waiting.append(op)
        living.commit()
        (folder / "again").mkdir()
        scratch = build_from_scratch(folder / "again", applied)
        asks = [("given", {"vector": vector(at, at + 1), "fields": FIELDS}) for at in range(4)]
        asks += [("look", {"vector": vector(at)}) for at in range(4)]
        asks += [(surface, {"user": user}) for user in range(USERS) for surface in ("fresh", "recent")]
        with node_with(scratch, folder / "again", **SURFACES) as built:
            said = [op for op in applied if op["op"].endswith("block") and makes_sense(op, exists)]
            if said:
                built.apply(said)
            for surface, ask in asks:
                one, other = living.node.ask(surface, **ask), built.ask(surface, **ask)
                assert one.ids.tolist() == other.ids.tolist(), (surface, ask)
                assert one.scores.tobytes() == other.scores.tobytes()
                assert one.fields == other.fields
    finally:
        living.node.close()
        shutil.rmtree(folder)


WITHOUT_SHRINKING = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(WITHOUT_SHRINKING, max_examples=16)
@given(steps=st.lists(STEP, min_size=1, max_size=14))
def test_the_answers_are_the_same(pristine, tmp_path_factory, steps):
    check(pristine, tmp_path_factory.mktemp("case"), steps)


@pytest.mark.stress
@pytest.mark.timeout(880)
@settings(WITHOUT_SHRINKING, max_examples=300)
@given(steps=st.lists(STEP, min_size=5, max_size=40))
def test_the_answers_are_the_same_after_many_steps(pristine, tmp_path_factory, steps):
    check(pristine, tmp_path_factory.mktemp("case"), steps)
