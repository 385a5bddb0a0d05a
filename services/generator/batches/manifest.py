"""What is known of a batch when it was taken in: where its files lie, and how its lines are cut into chunks."""

from __future__ import annotations

import re
import secrets
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from urllib.parse import quote, unquote

import orjson

QUEUE = "batch"
ID = re.compile(r"batch-[0-9a-f]{12}[0-9a-f]{24}")


@dataclass(frozen=True)
class Chunk:
    """Lines that are one message: their bytes in the input, the number of the first, and how many requests.

    ``repeated`` are the numbers of the lines whose id stands in a line before.
    """

    start: int
    size: int
    first: int
    lines: int
    repeated: Sequence[int] = ()


@dataclass(frozen=True)
class Manifest:
    """One batch. ``created_at`` is in seconds since the epoch."""

    id: str
    tenant: str
    created_at: float
    chunks: Sequence[Chunk]

    @property
    def lines(self) -> int:
        """Requests in all."""
        return sum(chunk.lines for chunk in self.chunks)

    @property
    def folder(self) -> str:
        """Where its files lie."""
        return folder(self.tenant, self.id)

    def chunk_of(self, number: int) -> int:
        """The place of the chunk that holds a line."""
        return max(0, bisect_right(self.chunks, number, key=lambda chunk: chunk.first) - 1)

    def packed(self) -> bytes:
        """As it is stored."""
        chunks = [astuple(chunk) for chunk in self.chunks]
        return orjson.dumps([self.id, self.tenant, self.created_at, chunks])


def unpacked(data: bytes) -> Manifest:
    """What ``packed`` gave."""
    batch_id, tenant, created_at, chunks = orjson.loads(data)
    return Manifest(batch_id, tenant, created_at, [Chunk(*chunk) for chunk in chunks])


def new_id() -> str:
    """An id that nobody can guess; later ones sort after earlier ones."""
    return f"batch-{time.time_ns() // 1_000_000:012x}{secrets.token_hex(12)}"


def created_at(batch_id: str) -> float:
    """When a batch was taken in, by its id."""
    return int(batch_id[6:18], 16) / 1000


def tenant_folder(tenant: str) -> str:
    """The folder of a tenant's batches; no name of a tenant leads out of it."""
    return "t-" + quote(tenant, safe="").replace(".", "%2E")


def tenant_of(name: str) -> str:
    """The tenant whose folder has this name."""
    return unquote(name.removeprefix("t-"))


def folder(tenant: str, batch_id: str) -> str:
    """The folder of a batch."""
    return f"{tenant_folder(tenant)}/{batch_id}"


# The files in the folder of a batch. The first four are written before the batch is acknowledged, in this order.
INPUT = "input.jsonl"
IDS = "ids"
MANIFEST = "manifest.json"
QUEUED = "queued"
CANCELLED = "cancelled.json"
FINISHED = "finished.json"
REMOVED = "removed"
CHUNKS = "chunks"
JOURNALS = "journals"


def chunk_file(number: int) -> str:
    """The name of the results of a chunk, all of them."""
    return f"{number:06d}.jsonl"


def chunk_number(name: str) -> int:
    """The chunk that a file of results, or a journal, belongs to."""
    return int(name[:6])
