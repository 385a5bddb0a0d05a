"""Reads from the record: a connection a thread, so that readers never wait for the writer or each other."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Document, DocumentSummary
from services.retriever.filters import Filter
from services.retriever.sparse import Entry
from services.retriever.stores import Kept, Key, Rows, Vectors
from services.retriever.stores._filter_sql import condition
from services.retriever.stores._schema import connect

BATCH_ROWS = 4096

PASSAGES = (
    "SELECT p.row, d.name || '#' || p.ordinal, d.name, d.title, p.section, p.text, p.begins, p.ends, p.page, "
    "d.metadata, p.source, p.offsets, p.page_starts FROM passages p JOIN documents d ON d.id = p.document "
)
# The same as a single row of JSON: each row that SQLite steps to lets go of the interpreter, and threads that read
# side by side would wait for it each time (ten passages, four threads: five times as fast).
AT_ONCE = (
    "SELECT json_group_array(json_array(p.row, d.name || '#' || p.ordinal, d.name, d.title, p.section, p.text, "
    "p.begins, p.ends, p.page, d.metadata, p.source, hex(p.offsets), hex(p.page_starts))) "
    "FROM passages p JOIN documents d ON d.id = p.document "
)


@dataclass(frozen=True)
class Loaded:
    """A collection's passages as its indexes need them: rows (n,), vectors (n, dimensions), word pieces by row."""

    rows: Rows
    vectors: Vectors
    token_ids: bytes


class Reader:
    """The reading half of the record; any thread may use it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.epoch = uuid.uuid4().hex
        self.local = threading.local()
        self.open: list[sqlite3.Connection] = []
        self.lock = threading.Lock()

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection."""
        db: sqlite3.Connection | None = getattr(self.local, "db", None)
        if db is None:
            db = self.local.db = connect(self.file)
            db.execute("PRAGMA query_only = ON")
            with self.lock:
                self.open.append(db)
        return db

    @contextmanager
    def moment(self) -> Iterator[sqlite3.Connection]:
        """Several reads of one state."""
        db = self.db
        db.execute("BEGIN")
        try:
            yield db
        finally:
            db.execute("COMMIT")

    def passages(self, rows: Sequence[int]) -> dict[int, Passage]:
        """Those of ``rows`` that are still there."""
        found = self.db.execute(f"{AT_ONCE} WHERE p.row IN ({', '.join('?' * len(rows))})", list(rows)).fetchone()
        return {row: passage(*columns) for row, *columns in orjson.loads(found[0])}

    def ranges(self, collection: int, generation: int, chosen: Filter) -> list[tuple[int, int]]:
        """First row and number of passages of each document of ``generation`` that the filter lets through."""
        text, values = condition(chosen)
        return self.db.execute(  # the condition's text holds question marks in place of what callers gave
            "SELECT first_row, passages FROM documents WHERE collection = ? AND generation <= ? "  # noqa: S608
            f"AND (died IS NULL OR died > ?) AND {text}",
            [collection, generation, generation, *values],
        ).fetchall()

    def document(self, key: Key, name: str, *, brief: bool) -> Kept | None:
        """The document and its passages in order, or neither text nor passages."""
        with self.moment() as db:
            found = db.execute(
                "SELECT d.id, d.first_row, d.passages, d.name, d.title, d.metadata, d.content_hash, d.media_type, "
                "d.uri, d.seq FROM documents d JOIN collections c ON c.id = d.collection "
                "WHERE c.tenant = ? AND c.name = ? AND d.name = ? AND d.died IS NULL",
                (key.tenant, key.collection, name),
            ).fetchone()
            if found is None:
                return None
            identity, first, count, name, title, metadata, content_hash, media_type, uri, seq = found
            document = Document(
                id=name,
                title=title,
                metadata_json=metadata,
                content_hash=content_hash,
                media_type=media_type,
                uri=uri,
            )
            if brief:
                return Kept(document, [], seq)
            source = db.execute("SELECT source FROM sources WHERE document = ?", (identity,)).fetchone()
            document.source = source[0]
            rows = db.execute(f"{PASSAGES} WHERE p.row >= ? AND p.row < ? ORDER BY p.row", (first, first + count))
            return Kept(document, [passage(*columns) for _, *columns in rows], seq)

    def known_uris(self, uris: Sequence[str]) -> list[str]:
        """Those that a living document was made of."""
        known: set[str] = set()
        for start in range(0, len(uris), BATCH_ROWS):
            batch = uris[start : start + BATCH_ROWS]
            found = self.db.execute(
                f"SELECT uri FROM documents WHERE died IS NULL AND uri IN ({', '.join('?' * len(batch))})",  # noqa: S608
                batch,
            )
            known.update(uri for (uri,) in found)
        return [uri for uri in uris if uri in known]

    def documents(self, collection: int, limit: int, after: str) -> list[DocumentSummary]:
        """A page of the collection's documents, by id."""
        found = self.db.execute(
            "SELECT name, title, metadata, content_hash, media_type, passages FROM documents "
            "WHERE collection = ? AND name > ? AND died IS NULL ORDER BY name LIMIT ?",
            (collection, after, limit),
        )
        names = ("id", "title", "metadata_json", "content_hash", "media_type", "passages")
        return [DocumentSummary(**dict(zip(names, columns, strict=True))) for columns in found]

    def load(self, collection: int, dimensions: int) -> Loaded:
        """All vectors and word pieces of a collection, by row; the dead must have been purged."""
        db = self.db
        count = db.execute("SELECT count(*) FROM vectors WHERE collection = ?", (collection,)).fetchone()[0]
        rows = np.empty(count, dtype=np.int64)
        vectors = np.empty((count, dimensions), dtype=np.float32)
        tokens: list[bytes] = []
        found = db.execute(
            "SELECT row, vector, token_ids FROM vectors WHERE collection = ? ORDER BY row", (collection,)
        )
        at = 0
        while batch := found.fetchmany(BATCH_ROWS):
            part = slice(at, at + len(batch))
            rows[part] = [row for row, _, _ in batch]
            vectors[part] = np.frombuffer(b"".join([v for _, v, _ in batch]), dtype="<f4").reshape(len(batch), -1)
            tokens.append(b"".join([ids for _, _, ids in batch]))
            at += len(batch)
        return Loaded(rows, vectors, b"".join(tokens))

    def entries(self, collection: int, above: int) -> Iterator[list[Entry]]:
        """What the sparse index holds of each passage of a later generation than ``above``, in batches."""
        found = self.db.execute(
            "SELECT p.row, d.title, p.section, p.text FROM documents d JOIN passages p "
            "ON p.row >= d.first_row AND p.row < d.first_row + d.passages "
            "WHERE d.collection = ? AND d.generation > ? AND d.died IS NULL ORDER BY d.generation",
            (collection, above),
        )
        while batch := found.fetchmany(BATCH_ROWS):
            yield [Entry(*columns) for columns in batch]

    def deaths(self, collection: int, above: int) -> list[range]:
        """Rows of the documents that died in a later generation than ``above``."""
        found = self.db.execute(
            "SELECT first_row, passages FROM documents WHERE collection = ? AND died > ?", (collection, above)
        )
        return [range(first, first + count) for first, count in found]

    def live_rows(self, collection: int) -> Rows:
        """The rows of all that lives, ascending."""
        found = self.db.execute(
            "SELECT first_row, passages FROM documents WHERE collection = ? AND died IS NULL ORDER BY first_row",
            (collection,),
        )
        first, counts = np.array(found.fetchall(), dtype=np.int64).reshape(-1, 2).T
        before = np.repeat(np.cumsum(counts) - counts, counts)  # rows of the documents before each row's
        rows: Rows = np.repeat(first, counts) + np.arange(len(before), dtype=np.int64) - before
        return rows

    def close(self) -> None:
        """Close the connections of all threads."""
        with self.lock:
            for db in self.open:
                db.close()
            self.open.clear()


def passage(*columns: Any) -> Passage:
    """A row of PASSAGES, less its number, as the wire has it."""
    names = ("id", "document_id", "title", "section", "text", "start", "end", "page", "metadata_json", "source")
    *fields, offsets, page_starts = columns
    made = Passage(**dict(zip(names, fields, strict=True)))
    made.offsets.extend(unpacked(offsets))
    made.page_starts.extend(unpacked(page_starts))
    return made


def unpacked(offsets: bytes | str) -> list[int]:
    """What ``_record.packed`` made, as it is or in hexadecimal digits."""
    if not offsets:
        return []
    found: list[int] = np.frombuffer(
        bytes.fromhex(offsets) if isinstance(offsets, str) else offsets, dtype="<u4"
    ).tolist()
    return found
