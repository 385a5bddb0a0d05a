"""Reads the checksums that tantivy writes under its files, which it does not check when it opens them."""

from __future__ import annotations

import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.retriever.sparse import Damaged

MAGIC = 1337  # last four bytes of each of tantivy's files; before it the length of a JSON footer, then the footer
TAIL = 8
LONGEST_FOOTER = 4096
READ_BYTES = 1 << 20


def check(folder: Path, threads: int = 1) -> None:
    """Raise Damaged where a file of the index in ``folder`` is not what was written."""
    with ThreadPoolExecutor(threads) as pool:  # sums of large blocks are made without the interpreter's lock
        for _ in pool.map(check_file, segment_files(folder)):
            pass


def check_file(file: Path) -> None:
    """Raise Damaged where the file is not what was written."""
    try:
        crc, size = footer(file)
        if checksum(file, size) != crc:
            raise Damaged(f"{file.name} is not what was written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{file.name} cannot be read: {error}") from error


def segment_files(folder: Path) -> list[Path]:
    """The files of the segments that the index names; raises Damaged for an index without a list of them."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        names = {segment["segment_id"].replace("-", "") for segment in meta["segments"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"meta.json cannot be read: {error}") from error
    return [file for file in sorted(folder.iterdir()) if file.name.partition(".")[0] in names]


def footer(file: Path) -> tuple[int, int]:
    """The checksum that the file should have and the length of what it covers."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - TAIL))
        tail = stream.read(TAIL)
        length = int.from_bytes(tail[:4], "little")
        if int.from_bytes(tail[4:], "little") != MAGIC or not 0 < length <= min(LONGEST_FOOTER, size - TAIL):
            raise ValueError("it has no footer")
        stream.seek(size - TAIL - length)
        return int(json.loads(stream.read(length))["crc"]), size - TAIL - length


def checksum(file: Path, size: int) -> int:
    """CRC-32 of the first ``size`` bytes."""
    crc = 0
    with file.open("rb") as stream:
        while size > 0 and (block := stream.read(min(size, READ_BYTES))):
            crc = zlib.crc32(block, crc)
            size -= len(block)
    return crc
