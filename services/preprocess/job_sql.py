"""The SQL behind the job store: each function is part of one transaction on the connection it is given."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from services.preprocess.jobs import (
    BROKEN,
    MAX_ERRORS,
    OPEN,
    STORED,
    Job,
    JobError,
    NewDocument,
    Part,
    State,
    Work,
)
from services.preprocess.order_sql import garbage, set_stamp, settle_blob


def advance(c: sqlite3.Connection, by: int = 1) -> int:
    """Take ``by`` numbers of the sequence; returns the last of them."""
    row = c.execute("UPDATE sequence SET last = last + ? RETURNING last", (by,)).fetchone()
    return int(row[0])


def create(
    c: sqlite3.Connection, job_id: str, tenant: str, collection: str, documents: Sequence[NewDocument]
) -> None:
    """Insert a job, its documents and their blobs."""
    c.execute(
        "INSERT INTO jobs (id, tenant, collection, created_at) VALUES (?, ?, ?, ?)",
        (job_id, tenant, collection, time.time()),
    )
    first = advance(c, len(documents)) - len(documents) + 1
    c.executemany(
        "INSERT INTO documents (job_id, n, part, seq, document_id, title, metadata_json, name, media_type, uri,"
        " sha256, state, reason) VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (job_id, n, first + n, *fields(d), State.FAILED if d.reason else State.QUEUED, d.reason)
            for n, d in enumerate(documents)
        ),
    )
    c.executemany(
        "INSERT INTO blobs (uri, tenant, collection, document_id, held) VALUES (?, ?, ?, ?, 0)",
        ((d.uri, tenant, collection, d.id) for d in documents if d.uri),
    )
    settle(c, job_id)


def fields(d: NewDocument) -> tuple[str, ...]:
    """A document's columns, in the order of the table."""
    return d.id, d.title, d.metadata_json, d.name, d.media_type, d.uri, d.sha256


def settle(c: sqlite3.Connection, job_id: str) -> None:
    """Note when the last document of a job has ended."""
    c.execute(
        "UPDATE jobs SET finished_at = ? WHERE id = ? AND finished_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM open_documents WHERE job_id = jobs.id)",
        (time.time(), job_id),
    )


def job(c: sqlite3.Connection, tenant: str, job_id: str) -> Job | None:
    """The job with its counts and first errors."""
    row = c.execute(
        "SELECT id, collection, created_at, finished_at, cancelled, published FROM jobs"
        " WHERE id = ? AND tenant = ?",
        (job_id, tenant),
    ).fetchone()
    if row is None:
        return None
    counts = c.execute(
        "SELECT state, count(*) FROM documents WHERE job_id = ? AND container = 0 GROUP BY state", (job_id,)
    )
    errors = c.execute(
        "SELECT document_id, reason FROM documents WHERE job_id = ? AND container = 0 AND state IN (?, ?)"
        " ORDER BY n, part LIMIT ?",
        (job_id, *BROKEN, MAX_ERRORS),
    )
    return Job(
        id=row[0],
        collection=row[1],
        created_at=row[2],
        finished_at=row[3],
        cancelled=bool(row[4]),
        published=bool(row[5]),
        counts={State(state): n for state, n in counts},
        errors=tuple(JobError(document_id, reason) for document_id, reason in errors),
    )


def begin(c: sqlite3.Connection, job_id: str, n: int) -> Work | None:
    """Mark a document as running; see JobStore.begin."""
    row = c.execute(
        "SELECT cancelled, state, tenant, collection, seq, document_id, title, metadata_json, name, media_type,"
        " uri, sha256 FROM documents JOIN jobs ON jobs.id = job_id WHERE job_id = ? AND n = ? AND part = 0",
        (job_id, n),
    ).fetchone()
    if row is None or row[1] not in (*OPEN, State.PARKED):
        return None
    cancelled, _, tenant, collection, seq, *columns = row
    taken = Work(job_id, n, tenant, collection, seq, NewDocument(*columns))
    if cancelled:
        end(c, taken, State.CANCELLED, "")
        return None
    c.execute(
        "UPDATE documents SET state = 'queued', reason = '' WHERE job_id = ? AND n = ? AND state = 'parked'",
        (job_id, n),
    )
    c.execute("UPDATE documents SET state = 'running' WHERE job_id = ? AND n = ? AND part = 0", (job_id, n))
    c.execute("UPDATE jobs SET finished_at = NULL, published = 1 WHERE id = ?", (job_id,))
    return taken


def expand(c: sqlite3.Connection, container: Work, parts: Sequence[Part]) -> list[int]:
    """Count a file by its parts; see JobStore.expand."""
    key = (container.job_id, container.n)
    c.execute("UPDATE documents SET container = 1 WHERE job_id = ? AND n = ? AND part = 0", key)
    c.executemany(
        "INSERT OR IGNORE INTO documents (job_id, n, part, seq, document_id, title, metadata_json, name,"
        " media_type, uri, sha256, state) VALUES (?, ?, ?, ?, ?, '', '{}', '', '', '', '', 'queued')",
        ((*key, part.number, container.seq, part.document_id) for part in parts),
    )
    c.executemany(
        "INSERT OR IGNORE INTO members VALUES (?, ?, ?, ?)",
        ((container.tenant, container.collection, container.document.id, part.document_id) for part in parts),
    )
    rows = c.execute("SELECT part FROM open_documents WHERE job_id = ? AND n = ? AND part > 0", key)
    return [part for (part,) in rows]


def end(c: sqlite3.Connection, ended: Work, state: State, reason: str) -> list[str]:
    """End a document; see JobStore.finish."""
    key = (ended.job_id, ended.n)
    c.execute(
        "UPDATE documents SET state = ?, reason = ? WHERE job_id = ? AND n = ? AND part = ?",
        (state, reason, *key, ended.part),
    )
    removable: list[str] = []
    if ended.part == 0:
        # A file that ends takes along those of its parts that never started.
        c.execute(
            "UPDATE documents SET state = ?, reason = ? WHERE job_id = ? AND n = ?"
            " AND state IN ('queued', 'running')",
            (state, reason, *key),
        )
        removable = settle_blob(c, ended, state)
    if state in STORED:
        set_stamp(c, ended.tenant, ended.collection, ended.document.id, ended.seq)
    settle(c, ended.job_id)
    return removable


def park(c: sqlite3.Connection, job_id: str, n: int, reason: str) -> None:
    """Fail what is open of a document, keeping its bytes for a replay."""
    c.execute(
        "UPDATE documents SET state = 'parked', reason = ? WHERE job_id = ? AND n = ?"
        " AND state IN ('queued', 'running')",
        (reason, job_id, n),
    )
    settle(c, job_id)


def cancel(c: sqlite3.Connection, job_id: str) -> list[str]:
    """Skip what has not started; returns the blobs to remove."""
    c.execute("UPDATE jobs SET cancelled = 1 WHERE id = ? AND finished_at IS NULL", (job_id,))
    c.execute(
        "UPDATE documents SET state = 'cancelled' WHERE job_id = ? AND state = 'queued'"
        " AND EXISTS (SELECT 1 FROM jobs WHERE id = job_id AND cancelled = 1)",
        (job_id,),
    )
    settle(c, job_id)
    return garbage(
        c,
        "UPDATE blobs SET held = 2 WHERE held = 0 AND uri IN"
        " (SELECT uri FROM documents WHERE job_id = ? AND part = 0 AND state = 'cancelled') RETURNING uri",
        job_id,
    )


def discard(c: sqlite3.Connection, job_id: str) -> list[str]:
    """Forget a job and everything it brought; returns the blobs to remove."""
    uris = garbage(
        c,
        "UPDATE blobs SET held = 2 WHERE held = 0 AND uri IN (SELECT uri FROM documents WHERE job_id = ?)"
        " RETURNING uri",
        job_id,
    )
    c.execute("DELETE FROM documents WHERE job_id = ?", (job_id,))
    c.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
    return uris


def prune(c: sqlite3.Connection, before: float) -> None:
    """Forget what finished long ago; see JobStore.prune."""
    for (job_id,) in c.execute("SELECT id FROM jobs WHERE finished_at < ?", (before,)).fetchall():
        discard(c, job_id)
    c.execute(
        "DELETE FROM stamps"
        " WHERE seq < coalesce((SELECT min(seq) FROM documents), (SELECT last + 1 FROM sequence))"
    )
