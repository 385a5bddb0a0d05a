"""Where passages are kept and found: one interface over the embedded store and what may follow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import CollectionState, Document, DocumentSummary, Exported, Finding
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
class Scope:
    """Which collections are meant; an empty part means all."""

    tenant: str = ""
    collection: str = ""

    def holds(self, key: Key) -> bool:
        """Whether the collection is one of them."""
        return self.tenant in {"", key.tenant} and self.collection in {"", key.collection}


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
class Vectorised:
    """What another embedder made of a document's passages; columns as in ``Content``."""

    fingerprint: str
    vectors: Vectors
    token_ids: Sequence[bytes]


@dataclass(frozen=True)
class Switched:
    """Whether searches go by the wanted embedder, the generation, and else some documents still to be staged."""

    switched: bool
    generation: int
    missing: Sequence[str] = ()


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


@dataclass(frozen=True)
class Around:
    """A passage among its neighbours: ``passages`` of one document in order, itself at ``place``.

    ``source`` is the document's text from where the first of them begins to where the last ends.
    """

    passages: Sequence[Passage]
    place: int
    source: str


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
    def epoch(self) -> str:
        """In which life of the record the generation was counted: another one after a restart or a restore."""
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

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors (n, dimensions), of unit length, of ``rows`` (n,), which must be of this view."""
        ...

    def frequencies(self, token_ids: Sequence[int]) -> list[int]:
        """How many passages hold each word piece."""
        ...

    def fetch(self, rows: Sequence[int]) -> Mapping[int, Passage]:
        """The passages as stored; a row that was since changed or deleted is left out."""
        ...

    def around(self, rows: Sequence[int], count: int) -> Mapping[int, Around]:
        """Each row with up to ``count`` passages before and after it in its document; gone ones are left out."""
        ...


class Store(Protocol):
    """Keeps documents; a write returns when it is durable and every later search sees it.

    Writes are ordered by numbers of one sequence, not by when they arrive: ``seq`` is a write's place, 0 the
    place after everything that was applied so far. A write that comes after a later one of the same id, or of
    the file of many that it came out of (its ``container``), is stale. The same write may come again.
    """

    @property
    def local(self) -> bool:
        """Whether ``view`` answers out of memory; where not, it is called in a thread."""
        ...

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

    async def stage(self, key: Key, document_id: str, seq: int, given: Vectorised) -> bool:
        """Keep vectors of another embedder for a document, beside those that are searched by.

        ``seq`` is that of the document when it was read: True says that another version is there by now, or none,
        and that nothing was done. Those of a third embedder take the place of all that was staged. For the
        embedder in use nothing is done. Raises NotFound, InvalidRequest, Mismatch, Overloaded, Unavailable.
        """
        ...

    async def switch(self, key: Key, fingerprint: str) -> Switched:
        """Search by the staged vectors from the next generation on, if every passage has one.

        Else some of the documents that lack them are named. Of the embedder in use: drops what is staged of
        another. Raises NotFound, Overloaded, Unavailable.
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

    def states(self, scope: Scope) -> list[CollectionState]:
        """What there is, by tenant and name; reads the disk."""
        ...

    def export(self, scope: Scope) -> Iterator[Exported]:
        """Everything as it was at one moment; reads the disk, one thread at a time. Raises Unavailable."""
        ...

    def verify(self, scope: Scope, *, mend: bool) -> Iterator[Finding]:
        """What does not agree, each once, mended where asked for; reads the disk. Raises Unavailable."""
        ...

    def compact(self, scope: Scope) -> tuple[int, int]:
        """Give back the room of what was deleted; bytes on the disk before and after. Raises Unavailable."""
        ...

    def check(self) -> None:
        """Raise Unavailable where writes can no longer be taken."""
        ...

    def close(self) -> None:
        """Finish the writes in hand and let go of the files."""
        ...
