"""A snapshot as one stream: a tar of plain files in a fixed order, the same bytes for the same data, manifest last.

Written and read here rather than by a library, because a reader that knows links, devices, sparse files and extended
headers has to be told to refuse them: this one knows plain files only. A stream cut off anywhere lacks its manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mixline.storage.digests import Advance, seal_of
from mixline.storage.errors import SnapshotDamaged, StoreDamaged
from mixline.storage.manifest import MANIFEST
from mixline.storage.snapshot_files import STEP_BYTES, SYNC_BYTES, let_go
from mixline.storage.snapshot_manifest import (
    MANIFEST_BYTES_MAX,
    SNAPSHOT,
    SNAPSHOT_SEAL,
    SnapshotFile,
    SnapshotManifest,
    decode_snapshot,
    disagreements,
    encode_snapshot,
    epoch_name,
    misnamed,
)

BLOCK, RECORD = 512, 10240
OCTAL_MAX = 8**11  # larger sizes are written in base 256, as GNU tar and bsdtar do
NAME_BYTES, PREFIX_BYTES = 100, 155


def header_of(name: str, size: int) -> bytes:
    """The 512 bytes before a member: owner 0, time 0, mode 0444."""
    prefix, short = "", name
    while len(short) > NAME_BYTES and "/" in short:
        first, _, short = short.partition("/")
        prefix = f"{prefix}/{first}" if prefix else first
    assert len(short) <= NAME_BYTES and len(prefix) <= PREFIX_BYTES, name
    length = b"%011o\0" % size if size < OCTAL_MAX else b"\x80" + size.to_bytes(11, "big")
    zero = b"0000000\0"
    parts = (short.encode().ljust(100, b"\0"), b"0000444\0", zero, zero, length, b"00000000000\0", b" " * 8, b"0")
    raw = b"".join(parts).ljust(257, b"\0") + b"ustar\x0000"
    raw = raw.ljust(329, b"\0") + zero + zero + prefix.encode().ljust(PREFIX_BYTES, b"\0")
    raw = raw.ljust(BLOCK, b"\0")
    return raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]


class StreamWriter:
    """Writes members to ``out`` and keeps what the manifest says of them."""

    def __init__(self, out: BinaryIO, advance: Advance) -> None:
        self.out, self.advance = out, advance
        self.files: dict[str, SnapshotFile] = {}
        self._written = self._synced = 0

    def file(self, name: str, path: Path, expected: SnapshotFile | None) -> None:
        """Add a file; :class:`StoreDamaged` when it is not what its epoch says of it."""
        import hashlib

        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            size = expected.bytes if expected else os.fstat(file.fileno()).st_size
            self._put(header_of(name, size))
            left = size
            while left and (part := file.read(min(left, STEP_BYTES))):
                digest.update(part)
                self._put(part)
                left -= len(part)
                self.advance(len(part))
        found = SnapshotFile(size - left, digest.hexdigest())
        if left or (expected and found != expected):
            raise StoreDamaged(f"{path}: is not what its epoch's manifest says; run mixline epoch verify")
        self.files[name] = found
        self._pad()

    def close(self, epoch: int, live_seq: int, log_seq: int) -> SnapshotManifest:
        """Manifest, seal, and the end of the archive."""
        manifest = SnapshotManifest(1, epoch, live_seq, log_seq, self.files)
        raw = encode_snapshot(manifest)
        for name, content in ((SNAPSHOT, raw), (SNAPSHOT_SEAL, seal_of(raw, SNAPSHOT))):
            self._put(header_of(name, len(content)) + content)
            self._pad()
        self._put(bytes(2 * BLOCK))
        self._put(bytes(-self._written % RECORD))
        self.out.flush()
        return manifest

    def _put(self, raw: bytes) -> None:
        self.out.write(raw)
        self._written += len(raw)
        if self._written - self._synced >= SYNC_BYTES:
            let_go(self.out)
            self._synced = self._written

    def _pad(self) -> None:
        self._put(bytes(-self._written % BLOCK))


class Member:
    """A file of a stream; its bytes are read in order, once."""

    def __init__(self, reader: StreamReader, name: str, size: int) -> None:
        self.reader, self.name, self.size = reader, name, size
        self.left = size

    def parts(self) -> Iterator[bytes]:
        while self.left:
            part = self.reader.exactly(min(self.left, STEP_BYTES), self.name)
            self.left -= len(part)
            yield part


class StreamReader:
    """Reads and judges a stream; ``where`` is its name in messages. What is refused is :class:`SnapshotDamaged`."""

    def __init__(self, source: BinaryIO, where: str) -> None:
        self.source, self.where = source, where

    def refuse(self, name: str, why: str) -> SnapshotDamaged:
        return SnapshotDamaged(f"{self.where}: member {name!r}: {why}; nothing of this stream is used")

    def exactly(self, count: int, name: str) -> bytes:
        found = bytearray()
        while len(found) < count:
            part = self.source.read(count - len(found))
            if not part:
                raise SnapshotDamaged(
                    f"{self.where}: ends within {name!r}: the stream is cut off; nothing of it is used"
                )
            found += part
        return bytes(found)

    def members(self) -> Iterator[Member]:
        """Every member in order: plain files with names that a snapshot may hold, manifest and seal last."""
        seen: set[str] = set()
        last = ""
        while True:
            raw = self.exactly(BLOCK, last or "its first header")
            if not any(raw):
                break
            name, size = self._header(raw)
            if name in seen:
                raise self.refuse(name, "comes twice")
            if last == SNAPSHOT_SEAL or (last == SNAPSHOT) != (name == SNAPSHOT_SEAL):
                raise self.refuse(name, "is out of order: manifest and seal come last")
            if name in (SNAPSHOT, SNAPSHOT_SEAL) and size > MANIFEST_BYTES_MAX:
                raise self.refuse(name, f"has {size} bytes, more than a manifest can have")
            seen.add(name)
            last = name
            member = Member(self, name, size)
            yield member
            for _ in member.parts():
                pass
            if any(self.exactly(-size % BLOCK, name)):
                raise self.refuse(name, "is followed by bytes that nobody wrote")
        if last != SNAPSHOT_SEAL:
            raise SnapshotDamaged(f"{self.where}: ends without {SNAPSHOT}: no whole snapshot; nothing of it is used")
        self._end()

    def _header(self, raw: bytes) -> tuple[str, int]:
        name = b"/".join(filter(None, (raw[345:500].rstrip(b"\0"), raw[:100].rstrip(b"\0")))).decode("utf-8", "replace")
        try:
            if int(raw[148:156].rstrip(b"\0 ") or b"x", 8) != sum(raw[:148]) + 8 * 32 + sum(raw[156:]):
                raise self.refuse(name, "its header is damaged (checksum)")
            size = int.from_bytes(raw[125:136], "big") if raw[124] == 0x80 else int(raw[124:136].rstrip(b"\0 "), 8)
        except ValueError:
            raise self.refuse(name, "its header is damaged") from None
        if raw[156:157] != b"0" or raw[157:257].strip(b"\0"):
            raise self.refuse(name, "is no plain file")
        wrong = misnamed(name)
        if wrong is not None:
            raise self.refuse(name, wrong)
        if size < 0 or header_of(name, size) != raw:
            raise self.refuse(name, "its header is not as a snapshot's is written")
        return name, size

    def _end(self) -> None:
        while part := self.source.read(RECORD):
            if any(part):
                raise SnapshotDamaged(f"{self.where}: goes on after its end; nothing of it is used")


def stream_faults(
    source: BinaryIO, where: str, advance: Advance = lambda _: None
) -> tuple[SnapshotManifest, list[str]]:
    """Read a whole stream against its manifest without keeping it."""
    import hashlib

    found: dict[str, SnapshotFile] = {}
    kept: dict[str, bytes] = {}
    for member in StreamReader(source, where).members():
        digest, size = hashlib.sha256(), member.size
        keep = member.name in (SNAPSHOT, SNAPSHOT_SEAL) or (
            member.name.count("/") == 2 and member.name.endswith(MANIFEST)
        )
        if keep and size > MANIFEST_BYTES_MAX:
            raise SnapshotDamaged(f"{where}: member {member.name!r}: {size} bytes, more than a manifest can have")
        content = bytearray()
        for part in member.parts():
            digest.update(part)
            advance(len(part))
            if keep:
                content += part
        if keep:
            kept[member.name] = bytes(content)
        if member.name not in (SNAPSHOT, SNAPSHOT_SEAL):
            found[member.name] = SnapshotFile(size, digest.hexdigest())
    manifest = sealed(kept[SNAPSHOT], kept[SNAPSHOT_SEAL], where)
    faults = [f"{where}: {name}: not named by the manifest" for name in sorted(found.keys() - manifest.files.keys())]
    faults += [f"{where}: {name}: missing" for name in sorted(manifest.files.keys() - found.keys())]
    both = sorted(found.keys() & manifest.files.keys())
    faults += [f"{where}: {name}: differs from the manifest" for name in both if found[name] != manifest.files[name]]
    inner = kept.get(f"{epoch_name(manifest.epoch)}/{MANIFEST}")
    return manifest, faults or disagreements(manifest, inner, where)


def sealed(raw: bytes, seal: bytes, where: str) -> SnapshotManifest:
    """The manifest of a stream, held against its seal."""
    if seal != seal_of(raw, SNAPSHOT):
        raise SnapshotDamaged(f"{where}: {SNAPSHOT} does not match its digest in {SNAPSHOT_SEAL}")
    return decode_snapshot(raw, f"{where}: {SNAPSHOT}")


def unpack(source: BinaryIO, where: str, folder: Path, advance: Advance) -> None:
    """Write the files of a stream into the empty ``folder``, to be verified there."""
    for member in StreamReader(source, where).members():
        room = os.statvfs(folder)
        if member.size > room.f_bavail * room.f_frsize:
            raise SnapshotDamaged(f"{where}: member {member.name!r}: its {member.size} bytes do not fit {folder}")
        target = folder / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for part in member.parts():
                file.write(part)
                advance(len(part))
