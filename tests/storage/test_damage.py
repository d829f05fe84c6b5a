"""Files torn, truncated, lengthened, flipped, missing and swapped, at seeded positions: nothing of it is accepted.

Each trial harms one place of an epoch, of a snapshot or of a stream, asks everything that has to notice, and mends it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from build_case import build, write_films
from log_case import write_log

from mixline.storage.errors import StorageError
from mixline.storage.publish import epoch_folder
from mixline.storage.restore import restore, restore_stream
from mixline.storage.snapshot_stream import stream_faults
from mixline.storage.snapshots import Snapshots, write_stream
from mixline.storage.store import Store

HARMS = ("flip", "tear", "truncate", "lengthen", "miss", "swap")


def spoiled(raw: bytes, harm: str, random: Random) -> bytes:
    """Other bytes than ``raw``, which is not empty."""
    at = random.randrange(len(raw))
    if harm == "flip":
        return raw[:at] + bytes([raw[at] ^ 1 << random.randrange(8)]) + raw[at + 1 :]
    if harm == "tear":  # a page that was never written, or that holds another's bytes
        length = min(random.choice((512, 4096)), len(raw) - at)
        torn = random.choice((bytes(length), random.randbytes(length)))
        return raw[:at] + torn + raw[at + length :] if torn != raw[at : at + length] else spoiled(raw, "flip", random)
    return raw[:at] if harm == "truncate" else raw + random.randbytes(random.randint(1, 600))


@contextmanager
def harmed(folder: Path, random: Random) -> Iterator[str]:
    """One file of a folder harmed; mended at the end."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    before = {path: path.read_bytes() for path in files}
    harm, path = random.choice(HARMS), random.choice(files)
    touched = {path}
    if harm == "miss":
        path.unlink()
    elif harm == "swap":
        other = random.choice([each for each in files if before[each] != before[path]])
        touched.add(other)
        for one, content in ((path, before[other]), (other, before[path])):
            one.unlink()
            one.write_bytes(content)
    else:
        path.unlink()  # and not through a hard link into the pattern
        path.write_bytes(spoiled(before[path], harm, random))
    try:
        yield f"{harm} {path.relative_to(folder)}"
    finally:
        for one in touched:
            one.unlink(missing_ok=True)
            one.write_bytes(before[one])


class Case:
    """A store with two epochs, the second active, a snapshot of the second, and a stream of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "store"
        spec = write_films(folder / "in", ".csv")
        build(spec, self.store)
        build(spec, self.store)
        write_log(self.store, 1, 9)
        self.shots = Snapshots(folder / "shots")
        self.shots.create(self.store)
        out = io.BytesIO()
        write_stream(self.store, out)
        self.stream = out.getvalue()
        self.trials = 0

    def refused(self, what: str, call: object) -> None:
        with pytest.raises(StorageError):
            call()  # type: ignore[operator]
            pytest.fail(f"accepted: {what}")

    def harm_epoch(self, random: Random) -> None:
        with harmed(epoch_folder(self.store, 1), random) as what:
            assert Store(self.store).verify(1), what
            self.refused(what, lambda: Store(self.store).activate(1))
            self.refused(what, lambda: Snapshots(self.folder / "never").create(self.store, 1))
        assert Store(self.store).current() == 2

    def harm_snapshot(self, random: Random) -> None:
        target = self.folder / "new"
        with harmed(self.shots.path(1), random) as what:
            assert self.shots.verify(1), what
            self.refused(what, lambda: restore(self.shots.path(1), target))
        assert not (target / "CURRENT").exists() and Store(target).epochs() == []

    def harm_stream(self, random: Random) -> None:
        end = len(self.stream.rstrip(b"\0")) + 1
        harm = random.choice(("flip", "tear", "truncate"))
        raw = spoiled(self.stream[:end], harm, random)
        raw += self.stream[end:] if harm != "truncate" else b""
        target = self.folder / "new"

        def verify() -> None:
            if stream_faults(io.BytesIO(raw), "it")[1]:
                raise StorageError

        self.refused(harm, verify)
        self.refused(harm, lambda: restore_stream(io.BytesIO(raw), "it", target))
        assert not (target / "CURRENT").exists() and Store(target).epochs() == []

    def run(self, trials: int, random: Random) -> None:
        for at in range(trials):
            (self.harm_epoch, self.harm_snapshot, self.harm_stream)[at % 3](random)
        # Nothing that was refused was harmed by refusing it.
        assert Store(self.store).verify(1) == Store(self.store).verify(2) == self.shots.verify(1) == []
        restore_stream(io.BytesIO(self.stream), "it", self.folder / "new")
        assert Store(self.folder / "new").verify() == []


def test_harm_is_never_accepted(tmp_path: Path) -> None:
    Case(tmp_path).run(120, Random(3))


@pytest.mark.stress
@pytest.mark.timeout(870)
def test_harm_at_three_thousand_places_is_never_accepted(tmp_path: Path, stress_seed: int) -> None:
    """A thousand each: epochs, snapshots, streams."""
    Case(tmp_path).run(3000, Random(stress_seed))


@pytest.mark.parametrize("seal", [False, True])
def test_another_epochs_manifest_is_not_accepted(tmp_path: Path, seal: bool) -> None:
    """Of two epochs with the same files, and with its seal: only the number tells."""
    store = Case(tmp_path).store
    for name in ("manifest.json", "manifest.sha256")[: 1 + seal]:
        target = epoch_folder(store, 1) / name
        target.unlink()
        target.write_bytes((epoch_folder(store, 2) / name).read_bytes())
    assert Store(store).verify(1)
