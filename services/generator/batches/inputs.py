"""Reads the input of a batch: cut into chunks while it comes in, and chunk by chunk when it is worked on."""

from __future__ import annotations

from dataclasses import dataclass

from ragline.errors import InvalidRequest, RaglineError, TooLarge
from services.generator.batches import lines
from services.generator.batches.ids import digest
from services.generator.batches.manifest import INPUT, Chunk, Manifest
from services.generator.batches.storage import Storage

CHUNK_BYTES = 4 << 20  # a chunk's lines are in memory together


@dataclass(frozen=True)
class Bounds:
    """See the settings ``max_batch_lines``, ``max_batch_line_kb`` and ``batch_chunk_lines``."""

    lines: int = 100_000
    line_bytes: int = 1 << 20
    chunk_lines: int = 32


class Scanner:
    """Follows an input as it comes; holds of it no more than the line that has not ended, and the ids' hashes.

    Raises TooLarge or InvalidRequest, naming the line, for a file that is no use as a whole. What is wrong with
    single lines is found again, and told, when they are worked on.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.chunks: list[Chunk] = []
        self.ids: dict[bytes, int] = {}
        self.tail = bytearray()
        self.number = 0
        self.lines = 0
        self.begins = Open(0, 1)
        self.at = 0
        self.usable = False
        self.fault = ""

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        self.tail += data
        *whole, rest = self.tail.split(b"\n")
        for raw in whole:
            self.line(bytes(raw), len(raw) + 1)
        self.tail = bytearray(rest)
        if len(rest) > self.bounds.line_bytes:
            raise self.too_long(self.number + 1)

    def end(self) -> list[Chunk]:
        """The chunks, once all has been fed."""
        if self.tail:
            self.line(bytes(self.tail), len(self.tail))
        self.close()
        if not self.lines:
            raise InvalidRequest("The file is empty; send one JSON object a line.", field="body")
        if not self.usable:
            raise InvalidRequest(f"No line of the file is a request. {self.fault}", field="body")
        return self.chunks

    def line(self, raw: bytes, size: int) -> None:
        """One line, ``size`` bytes with its end."""
        self.number += 1
        self.at += size
        if len(raw) > self.bounds.line_bytes:
            raise self.too_long(self.number)
        raw = content(raw, self.number)
        if raw:
            self.lines += 1
            if self.lines > self.bounds.lines:
                raise TooLarge(
                    f"Line {self.number}: there are more than {self.bounds.lines} requests "
                    "(GENERATOR_MAX_BATCH_LINES); split the file.",
                    field="body",
                )
            self.begins.lines += 1
            self.check(raw)
        full = self.begins.lines == self.bounds.chunk_lines or self.at - self.begins.start >= CHUNK_BYTES
        if full:
            self.close()

    def check(self, raw: bytes) -> None:
        """Note the id of a line, and whether it is a request."""
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(
                f"Line {self.number} is not UTF-8; send the file in that encoding.", field="body"
            ) from None
        custom_id = lines.id_of(raw)
        if custom_id is not None and self.ids.setdefault(digest(custom_id), self.number) != self.number:
            self.begins.repeated.append(self.number)
        if self.usable:
            return
        try:
            lines.parse(self.number, raw)
            self.usable = True
        except RaglineError as error:
            self.fault = self.fault or f"Line {self.number}: {error.detail}"

    def close(self) -> None:
        """End a chunk here, unless there is nothing in it."""
        begun = self.begins
        if begun.lines:
            chunk = Chunk(begun.start, self.at - begun.start, begun.first, begun.lines, begun.repeated)
            self.chunks.append(chunk)
        self.begins = Open(self.at, self.number + 1)

    def too_long(self, number: int) -> TooLarge:
        """The error for a line over the limit."""
        return TooLarge(
            f"Line {number} is over {self.bounds.line_bytes >> 10} KB (GENERATOR_MAX_BATCH_LINE_KB); "
            "send less in one line.",
            field="body",
        )


class Open:
    """A chunk that has not ended."""

    def __init__(self, start: int, first: int) -> None:
        self.start = start
        self.first = first
        self.lines = 0
        self.repeated: list[int] = []


def content(raw: bytes, number: int) -> bytes:
    """What stands in a line; nothing in a blank one."""
    return (raw.removeprefix(lines.BOM) if number == 1 else raw).strip()


def requests(storage: Storage, batch: Manifest, chunk: int) -> list[tuple[int, bytes]]:
    """The lines of a chunk that are not blank, each with its number. Blocks; raises OSError."""
    part = batch.chunks[chunk]
    data = storage.read(f"{batch.folder}/{INPUT}", part.start, part.start + part.size)
    numbered = ((number, content(raw, number)) for number, raw in enumerate(data.split(b"\n"), part.first))
    return [(number, raw) for number, raw in numbered if raw]
