"""Names the files of an index with their checksums, so that a crash or a flipped bit is seen when it is opened."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.retriever.sparse import Damaged

NAME = "manifest.json"
READ_BYTES = 1 << 20

Sums = Mapping[str, tuple[int, int]]  # size and CRC-32 of each file


@dataclass(frozen=True)
class Manifest:
    """The files that an index consists of; they are never written again under the same name."""

    files: Sums

    def write(self, folder: Path) -> None:
        """Make it what the index in ``folder`` is from now on, all at once."""
        temporary = folder / f"{NAME}.new"
        with temporary.open("w") as file:
            json.dump({"files": self.files, "sum": seal(self.files)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / NAME)
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def check(self, folder: Path) -> None:
        """Raise Damaged where a file is not what was written."""
        for name, known in self.files.items():
            try:
                found = summed(folder / name)
            except OSError as error:
                raise Damaged(f"{name} cannot be read: {error}") from error
            if found != known:
                raise Damaged(f"{name} is not what was written")

    def sweep(self, folder: Path) -> None:
        """Remove whatever else lies in the folder: what a crash left, or what the files took the place of."""
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in self.files and path.name != NAME:
                path.unlink()


def read(folder: Path) -> Manifest:
    """The manifest in ``folder``; raises Damaged where there is none."""
    try:
        found = json.loads((folder / NAME).read_bytes())
        files = {str(name): (int(size), int(crc)) for name, (size, crc) in found["files"].items()}
        if found["sum"] != seal(files):
            raise Damaged(f"{NAME} is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{NAME} cannot be read: {error}") from error
    return Manifest(files)


def made(folder: Path, names: Iterable[str], before: Sums) -> Manifest:
    """The manifest of these files, durable from now on; the sums of those that were there ``before`` are known."""
    return Manifest({name: before.get(name) or durable(folder / name) for name in names})


def durable(file: Path) -> tuple[int, int]:
    """Size and checksum of a new file, which is on the disk when this returns."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return summed(file)


def summed(file: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size = crc = 0
    with file.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            crc = zlib.crc32(block, crc)
            size += len(block)
    return size, crc


def seal(files: Sums) -> int:
    """A checksum of the list itself."""
    return zlib.crc32(json.dumps(sorted((name, *sums) for name, sums in files.items())).encode())
