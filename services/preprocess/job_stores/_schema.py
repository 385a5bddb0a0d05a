"""The tables of jobs.db, and what becomes of a file of an earlier version."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ragline.settings import SettingsError

VERSION = 2
TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, collection TEXT NOT NULL, total INTEGER NOT NULL,
    created_at REAL NOT NULL, open INTEGER NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0,
    restored INTEGER NOT NULL DEFAULT 0, finished_at REAL, version INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (finished_at);

-- part 0 is what was sent; a file that holds many (parts >= 0) is counted by its parts instead. A part has a row
-- once it has ended; those without one stand where their file does. A document without a row is queued.
CREATE TABLE IF NOT EXISTS documents (
    job_id TEXT NOT NULL, n INTEGER NOT NULL, part INTEGER NOT NULL DEFAULT 0, document_id TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', parts INTEGER NOT NULL DEFAULT -1,
    PRIMARY KEY (job_id, n, part)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS documents_by_state ON documents (job_id, parts, state);
CREATE INDEX IF NOT EXISTS documents_by_id ON documents (document_id, state);
"""
EARLIER = """
DROP VIEW IF EXISTS open_documents;
DROP TABLE IF EXISTS sequence; DROP TABLE IF EXISTS stamps; DROP TABLE IF EXISTS blobs;
DROP TABLE IF EXISTS members; DROP TABLE IF EXISTS documents; DROP TABLE IF EXISTS jobs;
"""


def prepare(connection: sqlite3.Connection) -> None:
    """Create what a new file lacks, in one transaction."""
    if version(connection) == VERSION:
        return
    connection.executescript(f"BEGIN IMMEDIATE;{EARLIER}{TABLES}PRAGMA user_version = {VERSION};COMMIT;")


def check(path: Path) -> None:
    """Raise SettingsError where the file cannot be used, or where it names documents that would be lost."""
    if not path.exists():
        return
    try:
        connection = sqlite3.connect(path)
        try:
            found, waiting = version(connection), left_behind(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise SettingsError(f"{path} cannot be used: {error}; move it away to begin a new one.") from None
    if found > VERSION:
        raise SettingsError(f"{path} has version {found}, and this program reads version {VERSION}.")
    if waiting:
        raise SettingsError(
            f"{path} is of version 0.1.0, and {waiting} of its documents are not ingested yet; let that version"
            " finish them, or move the file away and send them again."
        )


def left_behind(connection: sqlite3.Connection) -> int:
    """The open documents of a file of the first version, which kept the order of writes itself."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'stamps'").fetchone():
        return 0
    row = connection.execute("SELECT count(*) FROM documents WHERE state IN ('queued', 'running')").fetchone()
    return int(row[0])


def version(connection: sqlite3.Connection) -> int:
    """The version of the file; 0 for a new one and for one of the first version."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
