"""A backup as a file: what an export said, compressed, and a checksum without which it counts as none."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import orjson

import ragline
from ragline.cli.client import Failure
from ragline.v1.retriever_pb2 import Exported

MAGIC = b"RAGLINE-BACKUP\r\n"  # what takes a file for text changes the line's end
FORMAT = 1
HEAD = struct.Struct("<II")  # format, length of the JSON that follows
LENGTH = struct.Struct("<I")  # of a message, before each
SEAL_BYTES = hashlib.sha256().digest_size  # over all before it, at the end of the file
LEVEL = 1  # texts shrink to a third, vectors hardly at all whatever the effort
BLOCK = 1 << 20
SUFFIX = ".part"


class Writing:
    """Writes beside ``path`` and takes its name once all is on the disk; a context manager. Raises Failure."""

    def __init__(self, path: Path, about: dict[str, str]) -> None:
        self.path = path
        self.partial = path.with_name(path.name + SUFFIX)
        self.seal = hashlib.sha256()
        self.packing = zlib.compressobj(LEVEL, wbits=31)  # gzip's wrapping
        self.bytes = 0
        with said(path):
            self.file: BinaryIO = self.partial.open("wb")
        head = orjson.dumps({**about, "ragline": ragline.__version__})
        try:
            self.put(MAGIC + HEAD.pack(FORMAT, len(head)) + head)
        except Failure:
            self.abandon()
            raise

    def __enter__(self) -> Writing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abandon()
            return
        try:
            self.finish()
        except Failure:
            self.abandon()
            raise

    def add(self, part: Exported) -> None:
        """The next part of the export."""
        message = part.SerializeToString()
        self.put(self.packing.compress(LENGTH.pack(len(message)) + message))

    def put(self, block: bytes) -> None:
        """Bytes as they stand in the file."""
        self.seal.update(block)
        self.bytes += len(block)
        with said(self.path):
            self.file.write(block)

    def finish(self) -> None:
        """Seal the file and give it its name."""
        self.put(self.packing.flush())
        with said(self.path):
            self.file.write(self.seal.digest())
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self.partial.replace(self.path)
            sync(self.path.absolute().parent)

    def abandon(self) -> None:
        """Leave nothing that could be taken for a backup."""
        with contextlib.suppress(OSError):
            self.file.close()
        self.partial.unlink(missing_ok=True)


class Backup:
    """A backup that was read whole and found to be what was written; raises Failure where it is not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with said(path, "read"), path.open("rb") as file:
            self.about, self.begin = self.head(file)
            self.end = path.stat().st_size - SEAL_BYTES
            self.check(file)
        self.states = [part.begin for part in self.parts() if part.HasField("begin")]

    def head(self, file: BinaryIO) -> tuple[dict[str, str], int]:
        """What the backup says of itself, and where its content begins."""
        if file.read(len(MAGIC)) != MAGIC:
            raise Failure(f"{self.path} is no backup of Ragline.")
        head = file.read(HEAD.size)
        version, length = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
        if version > FORMAT:
            raise Failure(
                f"{self.path} has format {version}, this release reads {FORMAT}; use the release that wrote it."
            )
        try:
            about: dict[str, str] = orjson.loads(file.read(min(length, BLOCK)))
        except orjson.JSONDecodeError:
            raise self.damaged() from None
        return about, file.tell()

    def check(self, file: BinaryIO) -> None:
        """Hold every byte against the seal."""
        file.seek(0)
        seal, left = hashlib.sha256(), self.end
        while left > 0 and (block := file.read(min(left, BLOCK))):
            seal.update(block)
            left -= len(block)
        if left or file.read() != seal.digest():
            raise self.damaged()

    def damaged(self) -> Failure:
        """The sentence for a file that is not what was written."""
        return Failure(f"{self.path} is cut off or damaged; nothing was read from it, take another backup.")

    def parts(self) -> Iterator[Exported]:
        """All of the export in order."""
        waiting = bytearray()
        for block in self.unpacked():
            waiting += block
            at = 0
            while len(waiting) - at >= LENGTH.size:
                start = at + LENGTH.size
                stop = start + LENGTH.unpack_from(waiting, at)[0]
                if stop > len(waiting):
                    break
                yield Exported.FromString(bytes(waiting[start:stop]))
                at = stop
            del waiting[:at]
        if waiting:
            raise self.damaged()

    def unpacked(self) -> Iterator[bytes]:
        """The content, a bounded piece at a time."""
        unpacking = zlib.decompressobj(wbits=31)
        with said(self.path, "read"), self.path.open("rb") as file:
            file.seek(self.begin)
            left = self.end - self.begin
            while left > 0 and (block := file.read(min(left, BLOCK))):
                left -= len(block)
                while block:
                    try:
                        yield unpacking.decompress(block, BLOCK)
                    except zlib.error:
                        raise self.damaged() from None
                    block = unpacking.unconsumed_tail
        if not unpacking.eof or unpacking.unused_data:
            raise self.damaged()


@contextlib.contextmanager
def said(path: Path, what: str = "written") -> Iterator[None]:
    """Turn what the system refuses into a sentence."""
    try:
        yield
    except OSError as error:
        raise Failure(f"{path} cannot be {what}: {error.strerror or error}.") from error


def sync(folder: Path) -> None:
    """Make a new name in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
