"""What a model's files must hash to, and a note beside them that spares hashing them at every start."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

NOTE = ".verified.json"
BLOCK = 1 << 20

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


@dataclass(frozen=True)
class File:
    """A file of a model: its path inside the model's folder, its size in bytes and its sha256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Fault:
    """A file that is not what it must be; ``found`` is its hash, or empty when there is no such file."""

    file: str
    expected: str
    found: str

    def __str__(self) -> str:
        if not self.found:
            return f"{self.file} is missing"
        return f"{self.file} has sha256 {self.found} instead of {self.expected}"


def sha256(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def faults(folder: Path, files: Iterable[File]) -> list[Fault]:
    """Hash every file and list those that are missing or altered."""
    found = []
    for file in files:
        path = folder / file.path
        actual = sha256(path) if path.is_file() else ""
        if actual != file.sha256:
            found.append(Fault(file.path, file.sha256, actual))
    return found


def copy(source: IO[bytes], target: Path, advance: Callable[[int], None]) -> str:
    """Write a stream to a new file, down to the disk; returns its sha256 in hex."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("xb") as stream:
        while block := source.read(BLOCK):
            digest.update(block)
            stream.write(block)
            advance(len(block))
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()


def install(staging: Path, folder: Path, files: Sequence[File]) -> None:
    """Move checked files into place: the folder appears whole, or each file of an old one is replaced whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        staging.rename(folder)
    else:
        for file in files:
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            (staging / file.path).replace(folder / file.path)
    sync(folder.parent)
    remember(folder, files)


def remember(folder: Path, files: Iterable[File]) -> None:
    """Note the files' sizes and times, just after they were hashed."""
    entries = []
    for file in files:
        stat = (folder / file.path).stat()
        entries.append({**asdict(file), "mtime_ns": stat.st_mtime_ns})
    # In a folder that may only be read the note cannot be kept: every start then hashes, which is slow, not wrong.
    with suppress(PermissionError):
        write(folder / NOTE, json.dumps({"files": entries}, indent=1))


def remembered(folder: Path) -> list[dict[str, Any]]:
    """What ``remember`` noted; empty when there is no readable note."""
    try:
        return list(json.loads((folder / NOTE).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def unchanged(folder: Path, files: Iterable[File]) -> bool:
    """True if every file was once hashed to what is wanted and has kept its size and time since."""
    notes = {note["path"]: note for note in remembered(folder)}
    for file in files:
        note = notes.get(file.path)
        if note is None or note["sha256"] != file.sha256:
            return False
        try:
            stat = (folder / file.path).stat()
        except OSError:
            return False
        if (stat.st_size, stat.st_mtime_ns) != (note["size"], note["mtime_ns"]):
            return False
    return True


def write(path: Path, text: str) -> None:
    """Replace a small file whole: a crash leaves the old one or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".write-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).replace(path)


def sync(folder: Path) -> None:
    """Make renames inside the folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
