"""What a snapshot says of itself, and which names it may hold: everything is judged here before a path is made of it.

A snapshot mirrors a store: ``epochs/000007/...`` and, where there is one, ``live/log/data.mdb``. Its manifest is the
last file written and names every other with size and digest; it holds no time stamp and no host name.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mixline.storage.errors import FormatUnknown, SnapshotDamaged, SnapshotMissing, StorageError
from mixline.storage.live_paths import LIVE, LOG, LOG_DATA
from mixline.storage.manifest import MANIFEST, SEAL, decode_manifest
from mixline.storage.publish import EPOCHS

SNAPSHOT_FORMAT = 1
SNAPSHOT = "snapshot.json"
SNAPSHOT_SEAL = "snapshot.sha256"
LOG_FILE = f"{LIVE}/{LOG}/{LOG_DATA}"
MANIFEST_BYTES_MAX = 64 << 20  # of a manifest: it is read whole before anything is known about it
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
DEPTH_MAX = 8
SHA256 = re.compile(r"[0-9a-f]{64}")


class SnapshotFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: int
    sha256: str


class SnapshotManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``live_seq``: what the epoch contains of the log; ``log_seq``: the last entry of the log, 0 without one."""

    format: int
    epoch: int
    live_seq: int
    log_seq: int
    files: dict[str, SnapshotFile]

    @property
    def total_bytes(self) -> int:
        return sum(one.bytes for one in self.files.values())


class _FormatOnly(msgspec.Struct):
    format: int


def epoch_name(number: int) -> str:
    """The epoch's folder inside a snapshot."""
    return f"{EPOCHS}/{number:06d}"


def misnamed(name: str, epoch: int | None = None) -> str | None:
    """Why a file of a snapshot may not be called so; None when it may. Paths are made of names that passed only."""
    parts = name.split("/")
    if len(parts) > DEPTH_MAX or not all(PART.fullmatch(part) for part in parts):
        return "a name is a relative path of letters, digits, _, - and ., and no part begins with a point"
    if name in (SNAPSHOT, SNAPSHOT_SEAL, LOG_FILE):
        return None
    if parts[0] != EPOCHS or len(parts) < 3 or not (parts[1].isdecimal() and len(parts[1]) >= 6):
        return f"a snapshot holds {EPOCHS}/NUMBER/..., {LOG_FILE} and its manifest, nothing else"
    if epoch is not None and parts[1] != f"{epoch:06d}":
        return f"it is of another epoch than {epoch}"
    return None


def encode_snapshot(manifest: SnapshotManifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode_snapshot(raw: bytes, where: str) -> SnapshotManifest:
    """Decode and judge every name and digest; ``where`` is for messages."""
    try:
        found = msgspec.json.decode(raw, type=_FormatOnly).format
        if found != SNAPSHOT_FORMAT:
            raise FormatUnknown(
                f"{where}: snapshot format {found}, and this release reads format {SNAPSHOT_FORMAT}; "
                "restore it with the release that made it"
            )
        manifest = msgspec.json.decode(raw, type=SnapshotManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotDamaged(f"{where}: no snapshot's manifest ({error}); take another snapshot") from error
    for name, facts in manifest.files.items():
        wrong = misnamed(name, manifest.epoch)
        if wrong is None and name in (SNAPSHOT, SNAPSHOT_SEAL):
            wrong = "a manifest does not name itself"
        if wrong is None and (facts.bytes < 0 or not SHA256.fullmatch(facts.sha256)):
            wrong = "its size or digest is none"
        if wrong is not None:
            raise SnapshotDamaged(f"{where}: names {name!r}: {wrong}; refused")
    if manifest.epoch < 1 or min(manifest.live_seq, manifest.log_seq) < 0:
        raise SnapshotDamaged(f"{where}: its numbers are none of a snapshot; refused")
    return manifest


def read_snapshot(folder: Path) -> SnapshotManifest:
    """The manifest of the snapshot in ``folder``, held against its seal."""
    from mixline.storage.digests import seal_of

    path = folder / SNAPSHOT
    try:
        for file in (path, folder / SNAPSHOT_SEAL):
            facts = file.lstat()
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > MANIFEST_BYTES_MAX:
                raise SnapshotDamaged(f"{file}: no plain file of a possible size; refused")
        raw, seal = path.read_bytes(), (folder / SNAPSHOT_SEAL).read_bytes()
    except FileNotFoundError as error:
        if folder.is_dir() and path.exists():
            raise SnapshotDamaged(f"{error.filename}: missing; take another snapshot") from error
        raise SnapshotMissing(f"{folder}: no snapshot is here (no {SNAPSHOT})") from error
    except OSError as error:
        raise SnapshotDamaged(f"{error.filename}: {error.strerror}; take another snapshot") from error
    if seal != seal_of(raw, SNAPSHOT):
        raise SnapshotDamaged(f"{path}: does not match its digest in {SNAPSHOT_SEAL}; take another snapshot")
    return decode_snapshot(raw, str(path))


def plain_files(folder: Path, below: str = "") -> Iterator[str]:
    """Names of all files of a snapshot, its manifest and seal left out; refuses links, devices, and names out of order.

    No link is followed: what is no plain file or folder is named and refused.
    """
    for path in sorted((folder / below).iterdir() if below else folder.iterdir()):
        name = f"{below}/{path.name}" if below else path.name
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from plain_files(folder, name)
        elif not stat.S_ISREG(mode):
            raise SnapshotDamaged(f"{path}: neither a plain file nor a folder; refused")
        elif name not in (SNAPSHOT, SNAPSHOT_SEAL):
            yield name


def disagreements(manifest: SnapshotManifest, epoch_manifest: bytes | None, where: str) -> list[str]:
    """What the epoch's own manifest says otherwise than the snapshot's: number, live sequence, files or digests."""
    prefix = epoch_name(manifest.epoch)
    at = f"{where}: {prefix}/{MANIFEST}"
    if epoch_manifest is None:
        return [f"{at}: missing"]
    try:
        inner = decode_manifest(epoch_manifest, Path(prefix) / MANIFEST)
    except StorageError as error:
        return [f"{where}: {error}"]
    if (inner.number, inner.live_seq) != (manifest.epoch, manifest.live_seq):
        return [f"{at}: of epoch {inner.number} at {inner.live_seq}, not {manifest.epoch} at {manifest.live_seq}"]
    own = {f"{prefix}/{name}" for name in (MANIFEST, SEAL)}
    theirs = {f"{prefix}/{name}": (facts.bytes, facts.sha256) for name, facts in inner.files.items()}
    ours = {
        name: (facts.bytes, facts.sha256)
        for name, facts in manifest.files.items()
        if name != LOG_FILE and name not in own
    }
    faults = [f"{where}: {name}: not in the snapshot" for name in sorted(own - manifest.files.keys())]
    faults += [f"{where}: {name}: not in the snapshot" for name in sorted(theirs.keys() - ours.keys())]
    faults += [f"{where}: {name}: not named by the epoch" for name in sorted(ours.keys() - theirs.keys())]
    both = sorted(ours.keys() & theirs.keys())
    return faults + [
        f"{where}: {name}: other digests in the two manifests" for name in both if ours[name] != theirs[name]
    ]
