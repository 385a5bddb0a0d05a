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
    """The first generation that holds the document, and whether it was new or other than before."""

    generation: int
    changed: bool


@dataclass(frozen=True)
class Deleted:
    """What went: the generation without it, its passages' number and embedded texts, where its bytes lie."""

    generation: int
    passages: int
    uri: str
    texts: Sequence[str]


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
    """Keeps documents; a write returns when it is durable and every later search sees it."""

    def view(self, key: Key) -> View:
        """The collection as it is now; raises NotFound, naming the collections there are."""
        ...

    async def upsert(self, key: Key, content: Content) -> Upserted:
        """Put a document in place of what had its id, at once; raises Mismatch, Overloaded, Unavailable."""
        ...

    async def delete(self, key: Key, document_id: str) -> Deleted:
        """Take a document out; raises NotFound, Overloaded, Unavailable."""
        ...

    def document(self, key: Key, document_id: str, *, brief: bool) -> tuple[Document, list[Passage]]:
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
