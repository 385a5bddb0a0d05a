"""What is finished of a chunk that is not: each result is durable before the next is begun."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from services.generator.batches.lines import Result, read_result
from services.generator.batches.manifest import JOURNALS, chunk_number
from services.generator.batches.storage import Storage


class Journal:
    """One try of one worker at one chunk. Blocks: call it in a thread. Raises OSError.

    Each try writes files of its own, so that what a killed worker left half-written spoils nothing, and two
    workers that have the same chunk in hand do not meet. In a folder it is one file that grows; in object storage,
    where files do not grow, one object each time.
    """

    def __init__(self, storage: Storage, folder: str, chunk: int) -> None:
        self.storage = storage
        # Names begin with the time, so what is in an earlier one goes before what is in a later one.
        self.name = f"{folder}/{JOURNALS}/{chunk:06d}-{time.time_ns():016x}{uuid.uuid4().hex[:8]}"
        self.lock = threading.Lock()
        self.file: int | None = None
        self.objects = 0

    def append(self, lines: Sequence[bytes]) -> None:
        """Add results; they are durable on return."""
        data = b"".join(lines)
        with self.lock:
            if not self.storage.local:
                self.storage.write(f"{self.name}-{self.objects:06d}", data)
                self.objects += 1
                return
            if self.file is None:
                self.storage.make_folder(self.name)
                self.file = os.open(self.storage.path(self.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                self.storage.sync_path(Path(self.storage.path(self.name)).parent)
            while data:
                data = data[os.write(self.file, data) :]
            os.fsync(self.file)

    def close(self) -> None:
        """Let go of the file."""
        with self.lock:
            if self.file is not None:
                os.close(self.file)
                self.file = None


def names(storage: Storage, folder: str) -> dict[int, list[str]]:
    """The journals of a batch by chunk, the oldest first."""
    found: dict[int, list[str]] = {}
    for name in storage.names(f"{folder}/{JOURNALS}"):
        found.setdefault(chunk_number(name), []).append(f"{folder}/{JOURNALS}/{name}")
    return found


def read(storage: Storage, journals: Sequence[str]) -> dict[int, Result]:
    """The finished lines by number, each once; raises FileNotFoundError where a journal was removed."""
    found: dict[int, Result] = {}
    for name in journals:
        *whole, _ = storage.read(name).split(b"\n")  # after the last line end: nothing, or what a crash cut off
        for raw in whole:
            result = read_result(raw)
            if result is not None:
                found.setdefault(result.number, result)
    return found
