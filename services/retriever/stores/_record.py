"""Writes to the record, the one truth: each step is part of a transaction that the writer opens and ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ragline.errors import Mismatch, NotFound, Overloaded
from ragline.spans import embedded_text
from ragline.v1.retriever_pb2 import Document
from services.retriever.sparse import Entry
from services.retriever.stores import Content, Deleted, Key, Upserted, Vectors


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


@dataclass(frozen=True)
class Stored:
    """The part of a document's row that a write looks at."""

    id: int
    generation: int
    rows: range
    title: str
    content_hash: str
    uri: str
    metadata: str

    def same(self, document: Document) -> bool:
        """Whether storing ``document`` would change anything that a search or a reader can see."""
        return bool(document.content_hash) and (
            (self.content_hash, self.title, self.metadata)
            == (document.content_hash, document.title, document.metadata_json or "{}")
        )


class Record:
    """The writing half; one thread uses it. Errors of SQLite pass through."""

    def __init__(self, db: sqlite3.Connection, max_collections: int) -> None:
        self.db = db
        self.max_collections = max_collections

    def collections(self) -> list[Collection]:
        """All of them."""
        columns = "id, tenant, name, fingerprint, dimensions, generation"
        found = self.db.execute(f"SELECT {columns} FROM collections ORDER BY id")  # noqa: S608 - constants
        return [Collection(i, Key(tenant, name), *rest) for i, tenant, name, *rest in found]

    def collection(self, key: Key) -> Collection | None:
        """One of them, as this transaction sees it."""
        found = self.db.execute(
            "SELECT id, fingerprint, dimensions, generation FROM collections WHERE tenant = ? AND name = ?",
            (key.tenant, key.collection),
        ).fetchone()
        return None if found is None else Collection(found[0], key, *found[1:])

    def upsert(self, key: Key, content: Content, generations: dict[int, int]) -> tuple[Upserted, Change | None]:
        """Put the document in place of what had its id.

        ``generations`` gives the number of this transaction's generation, by collection, once it has one.
        """
        collection = self.collection_for(key, content)
        old = self.stored(collection.id, content.document.id)
        if old is not None and old.same(content.document):
            if old.uri != content.document.uri:
                self.db.execute("UPDATE documents SET uri = ? WHERE id = ?", (content.document.uri, old.id))
            return Upserted(old.generation, changed=False), None
        change = Change(collection)
        generation = generations.get(collection.id, collection.generation + 1)
        if old is not None:
            self.remove(change, old, generation)
        self.insert(change, content, generation)
        self.advance(collection.id, generation)
        generations[collection.id] = generation
        return Upserted(generation, changed=True), change

    def delete(self, key: Key, document_id: str, generations: dict[int, int]) -> tuple[Deleted, Change]:
        """Take the document out; raises NotFound."""
        collection = self.collection(key)
        old = None if collection is None else self.stored(collection.id, document_id)
        if collection is None or old is None:
            raise NotFound(f"The collection {key.collection!r} has no document {document_id!r}.")
        texts = self.texts(old)
        generation = generations.get(collection.id, collection.generation + 1)
        change = Change(collection)
        self.remove(change, old, generation)
        self.advance(collection.id, generation)
        generations[collection.id] = generation
        return Deleted(generation, len(old.rows), old.uri, texts), change

    def texts(self, old: Stored) -> list[str]:
        """What was embedded for each passage."""
        found = self.db.execute(
            "SELECT section, text FROM passages WHERE row >= ? AND row < ? ORDER BY row",
            (old.rows.start, old.rows.stop),
        )
        return [embedded_text(old.title, section, text) for section, text in found]

    def collection_for(self, key: Key, content: Content) -> Collection:
        """The collection to write to, made at its first document; raises Mismatch for another embedder."""
        dimensions = int(content.vectors.shape[1])
        found = self.collection(key)
        if found is None:
            return self.create(key, content.fingerprint, dimensions)
        if (found.fingerprint, found.dimensions) == (content.fingerprint, dimensions) or not len(content.passages):
            return found
        if self.holds_vectors(found.id):
            raise Mismatch(
                f"The collection {key.collection!r} was filled by the embedder {found.fingerprint!r} "
                f"({found.dimensions} dimensions), this document was embedded by {content.fingerprint!r} "
                f"({dimensions}); write to another collection, or delete this one's documents first."
            )
        self.db.execute(
            "UPDATE collections SET fingerprint = ?, dimensions = ? WHERE id = ?",
            (content.fingerprint, dimensions, found.id),
        )
        return Collection(found.id, key, content.fingerprint, dimensions, found.generation)

    def holds_vectors(self, collection: int) -> bool:
        """Whether any passage is alive."""
        found = self.db.execute(
            "SELECT 1 FROM documents WHERE collection = ? AND died IS NULL AND passages > 0 LIMIT 1", (collection,)
        )
        return found.fetchone() is not None

    def create(self, key: Key, fingerprint: str, dimensions: int) -> Collection:
        """A new collection; raises Overloaded past the limit."""
        if self.db.execute("SELECT count(*) FROM collections").fetchone()[0] >= self.max_collections:
            raise Overloaded(
                f"There are {self.max_collections} collections already (RETRIEVER_MAX_COLLECTIONS); raise it."
            )
        made = self.db.execute(
            "INSERT INTO collections (tenant, name, fingerprint, dimensions, generation) VALUES (?, ?, ?, ?, 0)",
            (key.tenant, key.collection, fingerprint, dimensions),
        )
        return Collection(int(made.lastrowid or 0), key, fingerprint, dimensions, 0)

    def stored(self, collection: int, name: str) -> Stored | None:
        """The document of that name."""
        found = self.db.execute(
            "SELECT id, generation, first_row, passages, title, content_hash, uri, metadata FROM documents "
            "WHERE collection = ? AND name = ? AND died IS NULL",
            (collection, name),
        ).fetchone()
        if found is None:
            return None
        identity, generation, first, passages, *rest = found
        return Stored(identity, generation, range(first, first + passages), *rest)

    def remove(self, change: Change, old: Stored, generation: int) -> None:
        """Mark the document dead as of ``generation``; readers of older ones still find its rows."""
        tokens = self.db.execute(
            "SELECT token_ids FROM vectors WHERE row >= ? AND row < ?", (old.rows.start, old.rows.stop)
        )
        change.removed_tokens += [blob for (blob,) in tokens]
        change.removed.append(old.rows)
        self.db.execute("UPDATE documents SET died = ? WHERE id = ?", (generation, old.id))

    def purge(self, collection: int, generation: int) -> int:
        """Delete what died in ``generation`` or before; returns how many documents that were."""
        dead = self.db.execute(
            "SELECT id, first_row, first_row + passages FROM documents WHERE collection = ? AND died <= ?",
            (collection, generation),
        ).fetchall()
        for identity, start, stop in dead:
            self.db.execute("DELETE FROM vectors WHERE row >= ? AND row < ?", (start, stop))
            self.db.execute("DELETE FROM passages WHERE row >= ? AND row < ?", (start, stop))
            self.db.execute("DELETE FROM sources WHERE document = ?", (identity,))
            self.db.execute("DELETE FROM documents WHERE id = ?", (identity,))
        return len(dead)

    def insert(self, change: Change, content: Content, generation: int) -> None:
        """Add the document and its passages, in rows that nothing ever had."""
        document, collection = content.document, change.collection.id
        first = self.next_row()
        made = self.db.execute(
            "INSERT INTO documents (collection, name, generation, first_row, passages, title, content_hash, "
            "media_type, uri, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(collection, document.id, generation, first, len(content.passages)),
                *(document.title, document.content_hash, document.media_type, document.uri),
                document.metadata_json or "{}",
            ),
        )
        self.db.execute("INSERT INTO sources VALUES (?, ?)", (made.lastrowid, document.source))
        self.db.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    first + i,
                    made.lastrowid,
                    i,
                    p.section,
                    p.text,
                    p.start,
                    p.end,
                    p.page,
                    p.source,
                    packed(p.offsets),
                    packed(p.page_starts),
                )
                for i, p in enumerate(content.passages)
            ),
        )
        vectors = np.ascontiguousarray(content.vectors, dtype="<f4")
        self.db.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?, ?)",
            (
                (first + i, collection, vector.tobytes(), tokens)
                for i, (vector, tokens) in enumerate(zip(vectors, content.token_ids, strict=True))
            ),
        )
        change.added = [
            Entry(first + i, document.title, p.section, p.text) for i, p in enumerate(content.passages)
        ]
        change.vectors = vectors
        change.added_tokens = content.token_ids

    def next_row(self) -> int:
        """The first row that was never used."""
        found = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'passages'").fetchone()
        return 1 if found is None else int(found[0]) + 1

    def advance(self, collection: int, generation: int) -> None:
        """Make ``generation`` the collection's."""
        self.db.execute("UPDATE collections SET generation = ? WHERE id = ?", (generation, collection))

    def holds_dead(self, collection: int) -> bool:
        """Whether rows of dead documents are still there."""
        found = self.db.execute(
            "SELECT 1 FROM documents WHERE collection = ? AND died IS NOT NULL LIMIT 1", (collection,)
        )
        return found.fetchone() is not None

    def checkpoint(self, collection: int) -> tuple[str, int]:
        """Version and generation of the sparse index; a version of "" where there is none."""
        found = self.db.execute(
            "SELECT version, generation FROM checkpoints WHERE collection = ?", (collection,)
        ).fetchone()
        return ("", 0) if found is None else (found[0], found[1])

    def set_checkpoint(self, collection: int, version: str, generation: int) -> None:
        """Note that the sparse index holds all changes up to ``generation``."""
        self.db.execute("REPLACE INTO checkpoints VALUES (?, ?, ?)", (collection, version, generation))


def packed(offsets: Sequence[int]) -> bytes:
    """Offsets as little-endian uint32."""
    return np.asarray(offsets, dtype="<u4").tobytes()
