"""The record's tables, the one truth: each step is part of a transaction that the writer opens and ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ragline.errors import Mismatch, Overloaded
from ragline.spans import embedded_text
from services.retriever.sparse import Entry
from services.retriever.stores import Content, Key
from services.retriever.stores._order import Numbers, Stamps
from services.retriever.stores._rows import Change, Collection, Gone, Stored

STORED = (
    "SELECT id, name, generation, first_row, passages, title, content_hash, uri, metadata, container, seq "
    "FROM documents WHERE collection = ? AND died IS NULL"
)


class Record:
    """The writing half; one thread uses it, but for ``numbers``. Errors of SQLite pass through."""

    def __init__(self, db: sqlite3.Connection, max_collections: int) -> None:
        self.db = db
        self.max_collections = max_collections
        self.stamps = Stamps(db)
        self.numbers = Numbers(self.stamps.reserved())

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

    def texts(self, old: Stored) -> Iterator[str]:
        """What was embedded for each passage."""
        found = self.db.execute(
            "SELECT section, text FROM passages WHERE row >= ? AND row < ? ORDER BY row",
            (old.rows.start, old.rows.stop),
        )
        return (embedded_text(old.title, section, text) for section, text in found)

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
                f"({dimensions}); embed it all anew (`ragline reembed`), or write to another collection.",
                wanted=found.fingerprint,
            )
        self.db.execute(
            "UPDATE collections SET fingerprint = ?, dimensions = ?, next_fingerprint = '', next_dimensions = 0 "
            "WHERE id = ?",
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
        found = self.db.execute(f"{STORED} AND name = ?", (collection, name)).fetchone()
        return None if found is None else stored(*found)

    def members(self, collection: int, container: str, seq: int) -> list[Stored]:
        """What writes up to ``seq`` stored out of a file of many, but for a document of the file's own id."""
        found = self.db.execute(
            f"{STORED} AND container = ? AND container <> '' AND name <> ? AND seq <= ?",
            (collection, container, container, seq),
        )
        return [stored(*columns) for columns in found]

    def remove(self, change: Change, old: Stored, generation: int, gone: Gone) -> None:
        """Mark the document dead as of ``generation``; readers of older ones still find its rows."""
        tokens = self.db.execute(
            "SELECT token_ids FROM vectors WHERE row >= ? AND row < ?", (old.rows.start, old.rows.stop)
        )
        change.removed_tokens += [blob for (blob,) in tokens]
        change.removed.append(old.rows)
        self.db.execute("DELETE FROM staged WHERE row >= ? AND row < ?", (old.rows.start, old.rows.stop))
        self.db.execute("UPDATE documents SET died = ? WHERE id = ?", (generation, old.id))
        gone.take(old.uri, len(old.rows), self.texts(old))

    def orphaned(self, uris: set[str]) -> list[str]:
        """Those of ``uris`` that no document is kept of."""
        one = "SELECT 1 FROM documents WHERE uri = ? AND died IS NULL LIMIT 1"
        return sorted(uri for uri in uris if uri and self.db.execute(one, (uri,)).fetchone() is None)

    def purge(self, collection: int, generation: int, most: int = -1) -> int:
        """Delete what died in ``generation`` or before, ``most`` documents or all; returns how many that were."""
        dead = self.db.execute(
            "SELECT id, first_row, first_row + passages FROM documents WHERE collection = ? AND died <= ? LIMIT ?",
            (collection, generation, most),
        ).fetchall()
        for identity, start, stop in dead:
            self.db.execute("DELETE FROM vectors WHERE row >= ? AND row < ?", (start, stop))
            self.db.execute("DELETE FROM passages WHERE row >= ? AND row < ?", (start, stop))
            self.db.execute("DELETE FROM sources WHERE document = ?", (identity,))
            self.db.execute("DELETE FROM documents WHERE id = ?", (identity,))
        return len(dead)

    def insert(self, change: Change, content: Content, generation: int, place: tuple[str, int]) -> None:
        """Add the document and its passages, in rows that nothing ever had."""
        document, collection = content.document, change.collection.id
        first = self.next_row()
        made = self.db.execute(
            "INSERT INTO documents (collection, name, generation, first_row, passages, title, content_hash, "
            "media_type, uri, metadata, container, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(collection, document.id, generation, first, len(content.passages)),
                *(document.title, document.content_hash, document.media_type, document.uri),
                *(document.metadata_json or "{}", *place),
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

    def move(self, held: Stored, uri: str, place: tuple[str, int]) -> None:
        """Note that a later write of the same content came: where its bytes lie, its container and number."""
        self.db.execute(
            "UPDATE documents SET uri = ?, container = ?, seq = ? WHERE id = ?", (uri, *place, held.id)
        )

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

    def secure(self) -> int | None:
        """Make the numbers durable that this transaction took; ``secured`` says that it was committed."""
        owed = self.numbers.owed()
        if owed is not None:
            self.stamps.reserve(owed)
        return owed

    def secured(self, ceiling: int | None) -> None:
        """What ``secure`` returned is durable."""
        if ceiling is not None:
            self.numbers.grant(ceiling)


def stored(identity: int, name: str, generation: int, first: int, passages: int, *rest: Any) -> Stored:
    """A row of ``STORED``."""
    return Stored(identity, name, generation, range(first, first + passages), *rest)


def packed(offsets: Sequence[int]) -> bytes:
    """Offsets as little-endian uint32."""
    return np.asarray(offsets, dtype="<u4").tobytes()
