"""The record's tables and how its file is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ragline.settings import SettingsError

LAYOUT_1 = """
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    UNIQUE (tenant, name)
);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (id),
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    first_row INTEGER NOT NULL,
    passages INTEGER NOT NULL,
    title TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    media_type TEXT NOT NULL,
    uri TEXT NOT NULL,
    metadata TEXT NOT NULL,
    died INTEGER  -- the first generation without it; its rows stay while a reader may be at an older one
);
CREATE UNIQUE INDEX documents_by_name ON documents (collection, name) WHERE died IS NULL;
CREATE INDEX documents_by_generation ON documents (collection, generation);
CREATE INDEX documents_by_death ON documents (collection, died) WHERE died IS NOT NULL;
CREATE TABLE sources (
    document INTEGER PRIMARY KEY,
    source TEXT NOT NULL
);
CREATE TABLE passages (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (id),
    ordinal INTEGER NOT NULL,
    section TEXT NOT NULL,
    text TEXT NOT NULL,
    begins INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    page INTEGER NOT NULL,
    source TEXT NOT NULL,
    offsets BLOB NOT NULL,
    page_starts BLOB NOT NULL
);
CREATE TABLE vectors (
    row INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    vector BLOB NOT NULL,
    token_ids BLOB NOT NULL
);
CREATE INDEX vectors_by_collection ON vectors (collection);
CREATE TABLE checkpoints (
    collection INTEGER PRIMARY KEY,
    version TEXT NOT NULL,
    generation INTEGER NOT NULL
);
"""

# The order of writes, files of many, and who needs which raw bytes.
LAYOUT_2 = """
ALTER TABLE documents ADD COLUMN container TEXT NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
CREATE INDEX documents_by_container ON documents (collection, container) WHERE died IS NULL AND container <> '';
CREATE INDEX documents_by_uri ON documents (uri) WHERE died IS NULL;
CREATE TABLE numbers (
    reserved INTEGER NOT NULL
);
INSERT INTO numbers VALUES (0);
CREATE TABLE stamps (  -- by name: a delete may come before its collection
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    passages INTEGER,
    at INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, name)
) WITHOUT ROWID;
CREATE INDEX stamps_by_age ON stamps (at);
"""

# What another embedder made of a collection's passages, beside what it is searched by.
LAYOUT_3 = """
ALTER TABLE collections ADD COLUMN next_fingerprint TEXT NOT NULL DEFAULT '';
ALTER TABLE collections ADD COLUMN next_dimensions INTEGER NOT NULL DEFAULT 0;
CREATE TABLE staged (  -- only of passages that live
    row INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    vector BLOB NOT NULL,
    token_ids BLOB NOT NULL
);
CREATE INDEX staged_by_collection ON staged (collection);
"""

LAYOUTS = (LAYOUT_1, LAYOUT_2, LAYOUT_3)  # each builds on the one before; what was shipped is never changed
VERSION = len(LAYOUTS)
LOG_BYTES = 64 << 20  # that the write-ahead log keeps on the disk once a checkpoint has emptied it


def connect(file: Path) -> sqlite3.Connection:
    """A connection of its own transactions; a commit returns when the disk has it."""
    db = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=30)
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file; before it has a journal
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -32768")
    return db


def create(file: Path) -> sqlite3.Connection:
    """The record's writing connection, its tables made or brought to this layout; raises SettingsError."""
    try:
        db = connect(file)
        try:
            bring_up(db, file)
        except BaseException:
            db.close()  # which undoes a layout that came half
            raise
    except sqlite3.DatabaseError as error:
        raise SettingsError(
            f"{file} cannot be opened ({error}); restore it from a backup or move it away."
        ) from error
    return db


def bring_up(db: sqlite3.Connection, file: Path) -> None:
    """Take over what an earlier layout holds, in one transaction; raises SettingsError for a later one."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise SettingsError(
            f"{file} has layout {version}, this release reads {VERSION}; use the release that wrote it."
        )
    if version < VERSION:
        steps = "".join(LAYOUTS[version:])
        db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
