"""What the record's writing half passes on: rows as it reads them, and what a change did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ragline.v1.retriever_pb2 import Document
from services.retriever.sparse import Entry
from services.retriever.stores import Key, Vectors


@dataclass(frozen=True)
class Collection:
    """A collection's row."""

    id: int
    key: Key
    fingerprint: str
    dimensions: int
    generation: int


@dataclass
class Change:
    """What one operation did to a collection: for the indexes, which follow the record."""

    collection: Collection
    removed: list[range] = field(default_factory=list)  # rows
    removed_tokens: list[bytes] = field(default_factory=list)
    added: list[Entry] = field(default_factory=list)
    vectors: Vectors | None = None  # (added, dimensions)
    added_tokens: Sequence[bytes] = ()
    switched: bool = False  # every vector is another's: the dense side begins anew from the record


@dataclass(frozen=True)
class Stored:
    """The part of a document's row that a write looks at."""

    id: int
    name: str
    generation: int
    rows: range
    title: str
    content_hash: str
    uri: str
    metadata: str
    container: str
    seq: int

    def same(self, document: Document) -> bool:
        """Whether storing ``document`` would change anything that a search or a reader can see."""
        return bool(document.content_hash) and (
            (self.content_hash, self.title, self.metadata)
            == (document.content_hash, document.title, document.metadata_json or "{}")
        )


@dataclass
class Gone:
    """What an operation removed, gathered for the caller; at most ``room`` bytes of texts, about."""

    room: int
    passages: int = 0
    uris: set[str] = field(default_factory=set)
    texts: dict[str, None] = field(default_factory=dict)

    def take(self, uri: str, passages: int, texts: Iterable[str]) -> None:
        """Add a document."""
        self.passages += passages
        self.uris.add(uri)
        for text in texts:
            if len(text) > self.room:
                break
            self.room -= len(text)
            self.texts[text] = None
