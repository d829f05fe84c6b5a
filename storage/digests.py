"""SHA-256 of every file of an epoch: written at publish, checked before an epoch is trusted.

LMDB notices no flipped bit and a mapped matrix none either, so the whole epoch is read once at activation. While it
serves, only what ``stat`` says is compared, which costs microseconds and catches a truncated or replaced file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from numpy.lib import format as npy

from mixline.storage.errors import StorageError, StoreDamaged
from mixline.storage.manifest import MANIFEST, SEAL, FileFacts, Manifest, read_manifest

Advance = Callable[[int], None]


def files_of(folder: Path) -> Iterator[str]:
    """Relative names of all files below ``folder``, sorted, without the manifest and its seal."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in (MANIFEST, SEAL):
            yield name


def digest(path: Path) -> str:
    import hashlib  # a worker, which compares no digest, does without OpenSSL: 2 MB

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def facts_of(path: Path) -> FileFacts:
    """Size and digest, and for arrays dtype and shape, of one file."""
    dtype, shape = None, None
    if path.suffix == ".npy":
        with path.open("rb") as file:
            npy.read_magic(file)
            shape, _, element = npy.read_array_header_1_0(file)
            dtype = element.str
    return FileFacts(bytes=path.stat().st_size, sha256=digest(path), dtype=dtype, shape=shape)


def seal_of(manifest: bytes, name: str = MANIFEST) -> bytes:
    """The line of the seal file, as ``sha256sum --check`` reads it."""
    import hashlib

    return f"{hashlib.sha256(manifest).hexdigest()}  {name}\n".encode()


def faults_of(folder: Path, advance: Advance = lambda _: None) -> list[str]:
    """Every difference between the epoch in ``folder`` and its manifest; an empty list means that it is whole."""
    try:
        manifest = read_manifest(folder)
        raw, seal = (folder / MANIFEST).read_bytes(), (folder / SEAL).read_bytes()
    except StorageError as error:
        return [str(error)]
    except OSError as error:
        return [f"{error.filename}: {error.strerror}"]
    faults = [] if seal == seal_of(raw) else [f"{folder / MANIFEST}: does not match its digest in {SEAL}"]
    if folder.name.isdecimal() and int(folder.name) != manifest.number:
        faults.append(f"{folder / MANIFEST}: is that of epoch {manifest.number}")
    present = set(files_of(folder))
    faults += [f"{folder / name}: not named by the manifest" for name in sorted(present - set(manifest.files))]
    for name, facts in manifest.files.items():
        path = folder / name
        if name not in present:
            faults.append(f"{path}: missing")
        elif (found := path.stat().st_size) != facts.bytes:
            faults.append(f"{path}: {found} bytes instead of {facts.bytes}")
        elif digest(path) != facts.sha256:
            faults.append(f"{path}: its SHA-256 differs from the manifest's")
        advance(facts.bytes)
    return faults


def check_whole(folder: Path, advance: Advance = lambda _: None) -> None:
    """Raise :class:`StoreDamaged` naming every damaged file of the epoch in ``folder``."""
    faults = faults_of(folder, advance)
    if faults:
        listed = "\n  ".join(faults)
        raise StoreDamaged(f"epoch {folder.name} is damaged:\n  {listed}\nactivate another epoch, or build again")


Stamp = tuple[int, int, int]


def stamp_of(path: Path) -> Stamp:
    """(size, inode, modification time in ns): what may not change while an epoch is mapped."""
    stat = path.stat()
    return stat.st_size, stat.st_ino, stat.st_mtime_ns


def stamps_of(folder: Path, manifest: Manifest) -> dict[str, Stamp]:
    """Stamps of all files; refuses a size other than the manifest's (a short mapping kills its reader by SIGBUS)."""
    stamps = {}
    for name, facts in manifest.files.items():
        try:
            stamps[name] = stamp_of(folder / name)
        except OSError as error:
            raise StoreDamaged(f"{folder / name}: {error.strerror}; run mixline epoch verify") from error
        if stamps[name][0] != facts.bytes:
            raise StoreDamaged(f"{folder / name}: {stamps[name][0]} bytes instead of {facts.bytes}; build again")
    return stamps
