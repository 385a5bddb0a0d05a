"""Where passages are kept and found: one interface over the embedded store and what may follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Document, DocumentSummary
from services.retriever.dense import DenseBackend
from services.retriever.filters import Filter
from services.retriever.sparse import SparseBackend

DEFAULT_COLLECTION = "default"
MAX_SEQ = 1 << 62

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """What a store is handed: its folder, its two indexes, the threads it may use."""

    folder: Path
    sparse: SparseBackend
    dense: DenseBackend
    threads: int


@dataclass(frozen=True)
class Key:
    """A collection's full name: nothing below the doors is addressed without the tenant."""

    tenant: str
    collection: str


@dataclass(frozen=True)
class Content:
    """A document ready to be stored: what it says, its passages, and what the embedder made of them.

    ``vectors`` is (passages, dimensions), unit length; ``token_ids`` holds the distinct word pieces of
    each passage as little-endian uint32, ascending.
    """

    document: Document
    passages: Sequence[Passage]
    vectors: Vectors
    fingerprint: str
    token_ids: Sequence[bytes]


@dataclass(frozen=True)
class Upserted:
    """The first generation that holds the document, and whether it was new or other than before.

    ``stale``: a later write or delete of it, or of its file, was applied before; nothing was done, and the
    generation is the current one. ``orphaned_uris``: raw bytes that no document is kept of any more.
    ``removed_texts``: what was embedded for passages that went and are not among the new ones.
    """

    generation: int
    changed: bool
    stale: bool = False
    orphaned_uris: Sequence[str] = ()
    removed_texts: Sequence[str] = ()


@dataclass(frozen=True)
class Settled:
    """A generation without what earlier versions of a file left; the rest as in ``Upserted``."""

    generation: int
    stale: bool
    orphaned_uris: Sequence[str] = ()
    removed_texts: Sequence[str] = ()


@dataclass(frozen=True)
class Deleted:
    """A generation without it, how many passages went, whether anything was there; the rest as in ``Upserted``.

    The same delete again (of the same number) has the ``passages`` and ``found`` of the first time.
    """

    generation: int
    passages: int
    found: bool
    orphaned_uris: Sequence[str] = ()
    removed_texts: Sequence[str] = ()


@dataclass(frozen=True)
class Kept:
    """A document as stored, its passages in order, and the number of the newest write that was applied to it."""

    document: Document
    passages: Sequence[Passage]
    seq: int


@dataclass(frozen=True)
class Ranking:
    """Rows, best first, and their scores (float32)."""

    rows: Rows
    scores: Vectors

    def __len__(self) -> int:
        return len(self.rows)


class Allowed(Protocol):
    """The passages that a filter lets through, in one view."""

    def __len__(self) -> int:
        """How many there are."""
        ...


class View(Protocol):
    """A collection at one generation; it never changes, and any thread may read it."""

    @property
    def generation(self) -> int:
        """Grows with each change of the collection; 0 where nothing was written."""
        ...

    @property
    def passages(self) -> int:
        """How many passages the collection holds."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the embedder that made the vectors; empty where there are none."""
        ...

    def allowed(self, chosen: Filter | None) -> Allowed | None:
        """The passages that ``chosen`` lets through; None for all."""
        ...

    def dense(self, queries: Vectors, depth: int, allowed: Allowed | None) -> list[Ranking]:
        """The passages nearest to each query (q, dimensions) by cosine."""
        ...

    def sparse(self, query: str, depth: int, allowed: Allowed | None) -> Ranking:
        """The passages that match the query's words best, by BM25; raises Unavailable where the index is lost."""
        ...

    def cosines(self, query: Vectors, rows: Rows) -> Vectors:
        """The cosine of ``query`` (dimensions,) with each of ``rows``, which must be of this view."""
        ...

    def frequencies(self, token_ids: Sequence[int]) -> list[int]:
        """How many passages hold each word piece."""
        ...

    def fetch(self, rows: Sequence[int]) -> Mapping[int, Passage]:
        """The passages as stored; a row that was since changed or deleted is left out."""
        ...


class Store(Protocol):
    """Keeps documents; a write returns when it is durable and every later search sees it.

    Writes are ordered by numbers of one sequence, not by when they arrive: ``seq`` is a write's place, 0 the
    place after everything that was applied so far. A write that comes after a later one of the same id, or of
    the file of many that it came out of (its ``container``), is stale. The same write may come again.
    """

    def view(self, key: Key) -> View:
        """The collection as it is now; raises NotFound, naming the collections there are."""
        ...

    async def reserve(self, count: int) -> int:
        """The first of ``count`` numbers, greater than all that were ever given out or applied.

        Raises Overloaded, Unavailable.
        """
        ...

    async def upsert(self, key: Key, content: Content, *, seq: int = 0, container: str = "") -> Upserted:
        """Put a document in place of what had its id, at once, also of the documents of a file of that id.

        Raises Mismatch, Overloaded, Unavailable.
        """
        ...

    async def settle(self, key: Key, container: str, document_ids: Sequence[str], *, seq: int = 0) -> Settled:
        """Remove what writes up to ``seq`` stored out of a file, or under its id, but for ``document_ids``.

        Raises Overloaded, Unavailable.
        """
        ...

    async def delete(self, key: Key, document_id: str, *, seq: int = 0) -> Deleted:
        """Remove what writes up to ``seq`` stored under an id, or out of the file of that id.

        Writes before it that still come are stale, also where nothing was there. Raises Overloaded, Unavailable.
        """
        ...

    def known_uris(self, uris: Sequence[str]) -> list[str]:
        """Those of ``uris`` that a document of any collection and tenant is kept of."""
        ...

    def document(self, key: Key, document_id: str, *, brief: bool) -> Kept:
        """A document with its passages, or without its text and passages; raises NotFound."""
        ...

    def documents(self, key: Key, limit: int, after: str) -> list[DocumentSummary]:
        """At most ``limit`` documents whose ids come after ``after``, by id."""
        ...

    def check(self) -> None:
        """Raise Unavailable where writes can no longer be taken."""
        ...

    def close(self) -> None:
        """Finish the writes in hand and let go of the files."""
        ...
