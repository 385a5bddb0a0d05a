"""Reads everything out of the record as it was at one moment, a document at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ragline.errors import Unavailable
from ragline.exports import Checksum
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import CollectionState, Document, Exported, ExportedDocument, ExportedEnd
from services.retriever.stores import Scope
from services.retriever.stores._reader import unpacked
from services.retriever.stores._schema import connect

STATES = (
    "SELECT c.id, c.tenant, c.name, c.generation, c.fingerprint, c.dimensions, count(d.id), "
    "coalesce(sum(d.passages), 0) FROM collections c LEFT JOIN documents d ON d.collection = c.id "
    "AND d.died IS NULL WHERE (?1 = '' OR c.tenant = ?1) AND (?2 = '' OR c.name = ?2) "
    "GROUP BY c.id ORDER BY c.tenant, c.name"
)
DOCUMENTS = (
    "SELECT id, first_row, passages, name, title, metadata, content_hash, media_type, uri, container, seq "
    "FROM documents WHERE collection = ? AND died IS NULL ORDER BY name"
)
PASSAGES = (
    "SELECT section, text, begins, ends, page, source, offsets, page_starts, vector, token_ids "
    "FROM passages p JOIN vectors v ON v.row = p.row WHERE p.row >= ? AND p.row < ? ORDER BY p.row"
)


def export(file: Path, scope: Scope) -> Iterator[Exported]:
    """Each collection's state, its documents by id, and an end; one thread at a time may go on with it.

    Raises Unavailable for a document that is damaged.

    All of it is of one read transaction on a connection of its own, which writes do not wait for; while it is
    open the write-ahead log cannot be reset, so it should not stay open for ever.
    """
    with closing(connect(file)) as db:
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")
        for identity, *columns in db.execute(STATES, (scope.tenant, scope.collection)).fetchall():
            state = state_of(*columns)
            yield Exported(begin=state)
            checksum = Checksum()
            for document in documents(db, identity, state):
                checksum.add(document)
                yield Exported(document=document)
            end = ExportedEnd(
                documents=checksum.documents, passages=checksum.passages, checksum=checksum.hexdigest()
            )
            yield Exported(end=end)


def state_of(
    tenant: str, name: str, generation: int, fingerprint: str, dimensions: int, documents: int, passages: int
) -> CollectionState:
    """A row of ``STATES``."""
    return CollectionState(
        tenant=tenant,
        collection=name,
        generation=generation,
        documents=documents,
        passages=passages,
        fingerprint=fingerprint,
        dimensions=dimensions,
    )


def documents(db: sqlite3.Connection, collection: int, state: CollectionState) -> Iterator[ExportedDocument]:
    """The living documents by id."""
    for identity, first, count, *columns, container, seq in db.execute(DOCUMENTS, (collection,)):
        name, title, metadata, content_hash, media_type, uri = columns
        source = db.execute("SELECT source FROM sources WHERE document = ?", (identity,)).fetchone() or (None,)
        made = ExportedDocument(
            document=Document(
                id=name,
                title=title,
                source=source[0] or "",
                metadata_json=metadata,
                content_hash=content_hash,
                media_type=media_type,
                uri=uri,
            ),
            dimensions=state.dimensions if count else 0,
            fingerprint=state.fingerprint if count else "",
            seq=seq,
            container=container,
        )
        add_passages(made, db, range(first, first + count))
        if source[0] is None or len(made.passages) != count:
            raise Unavailable(
                f"The document {name!r} of the collection {state.collection!r} is damaged in the record; "
                "`ragline verify` says more, and a backup from before has it."
            )
        yield made


def add_passages(made: ExportedDocument, db: sqlite3.Connection, rows: range) -> None:
    """The passages in order with what the embedder made of them; what follows from the document is left out."""
    vectors = []
    for *columns, vector, token_ids in db.execute(PASSAGES, (rows.start, rows.stop)):
        section, text, begins, ends, page, source, offsets, page_starts = columns
        passage = Passage(section=section, text=text, start=begins, end=ends, page=page, source=source)
        passage.offsets.extend(unpacked(offsets))
        passage.page_starts.extend(unpacked(page_starts))
        made.passages.append(passage)
        made.token_ids.append(token_ids)
        vectors.append(vector)
    made.vectors = b"".join(vectors)
