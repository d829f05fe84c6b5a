"""A snapshot as one stream: the same bytes for the same data, read by tar, and nothing of a hostile one is used."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from build_case import build, write_films
from log_case import LOG, read_log, write_log
from test_snapshots import mixline, told

from mixline.storage.errors import SnapshotDamaged, StoreDamaged
from mixline.storage.publish import epoch_folder
from mixline.storage.restore import restore_stream
from mixline.storage.snapshot_stream import BLOCK, RECORD, header_of, stream_faults
from mixline.storage.snapshots import write_stream
from mixline.storage.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streamed")
    build(write_films(folder / "in", ".csv"), folder / "store")
    write_log(folder / "store", 1, 5)
    return folder / "store"


@pytest.fixture(scope="module")
def raw(store: Path) -> bytes:
    out = io.BytesIO()
    write_stream(store, out)
    return out.getvalue()


def test_out_and_in_again(store: Path, raw: bytes, tmp_path: Path) -> None:
    assert mixline("create", store, "--out", "-").stdout == raw
    assert mixline("create", store, "--out", tmp_path / "one.tar").returncode == 0
    assert (tmp_path / "one.tar").read_bytes() == raw and not list(tmp_path.glob(".*"))
    assert mixline("verify", store, "--from", "-", stdin=raw).returncode == 0
    assert mixline("restore", tmp_path / "new", "--from", "-", stdin=raw).returncode == 0
    assert told(tmp_path / "new") == told(store) and read_log(tmp_path / "new" / LOG) == [1, 2, 3, 4, 5]
    assert mixline("restore", tmp_path / "newer", "--from", tmp_path / "one.tar").returncode == 0
    assert Store(tmp_path / "newer").verify() == []
    assert mixline("verify", store, "--from", tmp_path / "two.tar").returncode == 66
    assert not (store / "snapshots" / ".creating-stream").exists()


def test_tar_reads_it(raw: bytes, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members][-2:] == ["snapshot.json", "snapshot.sha256"]
    assert all(member.isreg() and member.mode == 0o444 and member.mtime == member.uid == 0 for member in members)
    assert len(raw) % RECORD == 0
    subprocess.run(["tar", "-x", "-C", tmp_path], input=raw, check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "snapshot.sha256"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 1 << 60])
def test_sizes_as_tar_reads_them(size: int) -> None:
    assert tarfile.TarInfo.frombuf(header_of("epochs/000001/x", size), "utf-8", "strict").size == size


def test_long_names_as_tar_reads_them() -> None:
    name = "epochs/000001/spaces/" + "x" * 64 + "/" + "y" * 90
    assert tarfile.TarInfo.frombuf(header_of(name, 1), "utf-8", "strict").name == name


def hostile(change: Callable[[tarfile.TarInfo], None], content: bytes = b"") -> bytes:
    member = tarfile.TarInfo("epochs/000001/manifest.json")
    member.size = len(content)
    change(member)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def of_kind(kind: bytes, target: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, target

    return change


def named(name: str) -> Callable[[tarfile.TarInfo], None]:
    return lambda member: setattr(member, "name", name)


HOSTILE = {
    "symlink": (hostile(of_kind(tarfile.SYMTYPE, "/etc")), "no plain file"),
    "hard link": (hostile(of_kind(tarfile.LNKTYPE, "CURRENT")), "no plain file"),
    "device": (hostile(of_kind(tarfile.CHRTYPE)), "no plain file"),
    "fifo": (hostile(of_kind(tarfile.FIFOTYPE)), "no plain file"),
    "folder": (hostile(of_kind(tarfile.DIRTYPE)), "no plain file"),
    "extended header": (hostile(of_kind(tarfile.XHDTYPE), b"20 path=/etc/passwd\n"), "no plain file"),
    "long name": (hostile(of_kind(tarfile.GNUTYPE_LONGNAME), b"/etc/passwd\0"), "no plain file"),
    "sparse": (hostile(of_kind(tarfile.GNUTYPE_SPARSE)), "no plain file"),
    "upwards": (hostile(named("epochs/000001/../../../x")), "a name is a relative path"),
    "absolute": (hostile(named("/etc/passwd")), "a name is a relative path"),
    "hidden": (hostile(named("epochs/000001/.x/y")), "a name is a relative path"),
    "elsewhere": (hostile(named("CURRENT")), "nothing else"),
    "the overlay": (hostile(named("live/overlay/x")), "nothing else"),
    "mode": (hostile(lambda member: setattr(member, "mode", 0o4755)), "not as a snapshot's is written"),
    "owner": (hostile(lambda member: setattr(member, "uid", 5)), "not as a snapshot's is written"),
    "twice": (2 * header_of("epochs/000001/x", 0), "comes twice"),
    "huge": (header_of("epochs/000001/x", 1 << 60), "do not fit|cut off"),
    "huge manifest": (header_of("snapshot.json", 1 << 40), "more than a manifest can have"),
    "out of order": (header_of("snapshot.json", 0) + header_of("epochs/000001/x", 0), "out of order"),
    "seal alone": (header_of("snapshot.sha256", 0), "out of order"),
    "no manifest": (header_of("epochs/000001/x", 0) + bytes(RECORD), "ends without snapshot.json"),
    "padding": (header_of("epochs/000001/x", 1) + b"x" * BLOCK, "bytes that nobody wrote"),
    "no tar": (b"PK\3\4" + b"x" * 2000, "damaged"),
    "nothing": (b"", "cut off"),
    "empty": (bytes(RECORD), "ends without snapshot.json"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_members_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    content, why = HOSTILE[kind]
    for use in (
        lambda: stream_faults(io.BytesIO(content), "it.tar"),
        lambda: restore_stream(io.BytesIO(content), "it.tar", tmp_path / "new"),
    ):
        with pytest.raises(SnapshotDamaged, match=why) as refused:
            use()
        assert str(refused.value).startswith("it.tar: ")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["LOCK", "epochs", "new"]


def test_cut_off_anywhere(raw: bytes, tmp_path: Path) -> None:
    for length in range(0, len(raw.rstrip(b"\0")) + BLOCK, 997):
        with pytest.raises(SnapshotDamaged, match=r"cut off|ends without"):
            stream_faults(io.BytesIO(raw[:length]), "it.tar")
    with pytest.raises(SnapshotDamaged, match="goes on after its end"):
        stream_faults(io.BytesIO(raw + b"x"), "it.tar")


def test_an_epoch_damaged_while_it_is_sent(store: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", store, tmp_path / "store"], check=True)
    path = epoch_folder(tmp_path / "store", 1) / "spaces" / "taste" / "items.npy"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    out = io.BytesIO()
    with pytest.raises(StoreDamaged, match=r"spaces/taste/items\.npy"):
        write_stream(tmp_path / "store", out)
    with pytest.raises(SnapshotDamaged):
        stream_faults(io.BytesIO(out.getvalue()), "it.tar")
    assert mixline("create", tmp_path / "store", "--out", tmp_path / "it.tar").returncode == 65
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
