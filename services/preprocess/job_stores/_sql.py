"""The SQL behind jobs.db: each function is part of one transaction on the connection it is given."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence

from services.preprocess.jobs import (
    BROKEN,
    MAX_ERRORS,
    OPEN,
    RETURNING,
    Head,
    Job,
    JobError,
    NewDocument,
    State,
    Work,
)


def create(c: sqlite3.Connection, head: Head, documents: Sequence[NewDocument]) -> None:
    """Insert a job and its documents; what a worker has noted meanwhile stays."""
    ensure(c, head)
    c.execute("UPDATE jobs SET restored = 0 WHERE id = ?", (head.id,))
    c.executemany(
        "INSERT OR IGNORE INTO documents (job_id, n, document_id, state) VALUES (?, ?, ?, 'queued')",
        ((head.id, n, document.id) for n, document in enumerate(documents)),
    )
    for n, document in enumerate(documents):
        if document.reason:
            end(c, Work(head, n, 0, document), State.FAILED, document.reason)
    changed(c, head.id)


def ensure(c: sqlite3.Connection, head: Head) -> None:
    """Begin the record anew if it is lost."""
    c.execute(
        "INSERT OR IGNORE INTO jobs (id, tenant, collection, total, created_at, open, restored)"
        " VALUES (?, ?, ?, ?, ?, ?, 1)",
        (head.id, head.tenant, head.collection, head.total, head.created_at, head.total),
    )


def changed(c: sqlite3.Connection, job_id: str) -> None:
    """Count the change, and note that the last document has ended, or that one was taken in hand again."""
    c.execute(
        "UPDATE jobs SET version = version + 1,"
        " finished_at = CASE WHEN open > 0 THEN NULL ELSE coalesce(finished_at, ?) END WHERE id = ?",
        (time.time(), job_id),
    )


def job(c: sqlite3.Connection, tenant: str, job_id: str) -> Job | None:
    """The job with its counts and first errors."""
    row = c.execute(
        "SELECT id, tenant, collection, total, created_at, finished_at, cancelled, restored FROM jobs"
        " WHERE id = ? AND tenant = ?",
        (job_id, tenant),
    ).fetchone()
    if row is None:
        return None
    head = Head(*row[:5])
    errors = c.execute(
        "SELECT document_id, reason FROM documents AS d WHERE job_id = ? AND state IN (?, ?) AND (parts < 0 OR"
        " parts > (SELECT count(*) FROM documents WHERE job_id = d.job_id AND n = d.n AND part > 0))"
        " ORDER BY n, part LIMIT ?",
        (job_id, *BROKEN, MAX_ERRORS),
    )
    return Job(
        head,
        finished_at=row[5],
        cancelled=bool(row[6]),
        restored=bool(row[7]),
        counts=counts(c, head),
        errors=tuple(JobError(document_id, reason) for document_id, reason in errors),
    )


def counts(c: sqlite3.Connection, head: Head) -> Counter[State]:
    """How many documents are in each state; a file of many is counted by its parts."""
    found: Counter[State] = Counter()
    for state, number in c.execute(
        "SELECT state, count(*) FROM documents WHERE job_id = ? AND parts < 0 GROUP BY state", (head.id,)
    ):
        found[State(state)] += number
    for state, left in c.execute(
        "SELECT state, parts - (SELECT count(*) FROM documents WHERE job_id = d.job_id AND n = d.n AND part > 0)"
        " FROM documents AS d WHERE job_id = ? AND parts >= 0",
        (head.id,),
    ):
        found[State(state)] += left
    noted = c.execute("SELECT count(*) FROM documents WHERE job_id = ? AND part = 0", (head.id,)).fetchone()[0]
    found[State.QUEUED] += head.total - noted
    return +found


def standing(c: sqlite3.Connection, work: Work) -> State:
    """Where a document stands; the row that says so is made if the record was lost."""
    ensure(c, work.job)
    c.execute(
        "INSERT OR IGNORE INTO documents (job_id, n, document_id, state) VALUES (?, ?, ?, 'queued')",
        (work.job.id, work.n, work.document.id),
    )
    row = c.execute(
        "SELECT state FROM documents WHERE job_id = ? AND n = ? AND part = 0", (work.job.id, work.n)
    ).fetchone()
    return State(row[0])


def move(c: sqlite3.Connection, work: Work, state: State, reason: str = "") -> None:
    """Put a document into another state and keep count of those that are open."""
    before = standing(c, work)
    c.execute(
        "UPDATE documents SET state = ?, reason = ? WHERE job_id = ? AND n = ? AND part = 0",
        (state, reason, work.job.id, work.n),
    )
    c.execute("UPDATE jobs SET open = open + ? WHERE id = ?", ((state in OPEN) - (before in OPEN), work.job.id))


def begin(c: sqlite3.Connection, work: Work) -> State:
    """Take a document in hand; see JobStore.begin."""
    before = standing(c, work)
    if before not in (*OPEN, *RETURNING):
        return before
    cancelled = c.execute("SELECT cancelled FROM jobs WHERE id = ?", (work.job.id,)).fetchone()[0]
    state = State.CANCELLED if cancelled else State.RUNNING
    move(c, work, state)
    changed(c, work.job.id)
    return state


def expand(c: sqlite3.Connection, work: Work, parts: int) -> list[int]:
    """Count a file by its parts; see JobStore.expand."""
    standing(c, work)
    key = (work.job.id, work.n)
    c.execute("UPDATE documents SET parts = ? WHERE job_id = ? AND n = ? AND part = 0", (parts, *key))
    rows = c.execute("SELECT part FROM documents WHERE job_id = ? AND n = ? AND part > 0", key)
    ended = {part for (part,) in rows}
    changed(c, work.job.id)
    return [part for part in range(1, parts + 1) if part not in ended]


def end(c: sqlite3.Connection, work: Work, state: State, reason: str) -> None:
    """End a document or a part, unless it has ended; see JobStore.finish."""
    if work.part:
        ensure(c, work.job)
        c.execute(
            "INSERT OR IGNORE INTO documents (job_id, n, part, document_id, state, reason)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (work.job.id, work.n, work.part, work.document.id, state, reason),
        )
    elif standing(c, work) in (*OPEN, *RETURNING):
        move(c, work, state, reason)
    changed(c, work.job.id)


def park(c: sqlite3.Connection, work: Work, reason: str) -> None:
    """Fail what is open of a document."""
    if standing(c, work) in OPEN:
        move(c, work, State.PARKED, reason)
    changed(c, work.job.id)


def cancel(c: sqlite3.Connection, job_id: str) -> None:
    """Skip what has not started."""
    c.execute("UPDATE jobs SET cancelled = 1 WHERE id = ? AND finished_at IS NULL", (job_id,))
    skipped = c.execute(
        "UPDATE documents SET state = 'cancelled' WHERE job_id = ? AND part = 0 AND state = 'queued'"
        " AND EXISTS (SELECT 1 FROM jobs WHERE id = job_id AND cancelled = 1)",
        (job_id,),
    ).rowcount
    c.execute("UPDATE jobs SET open = open - ? WHERE id = ?", (skipped, job_id))
    changed(c, job_id)


def assume(c: sqlite3.Connection, job_id: str, *, running: bool) -> None:
    """What is queued, or running too, has ended, nobody knows how; see JobStore.assume."""
    row = c.execute("SELECT total FROM jobs WHERE id = ? AND finished_at IS NULL", (job_id,)).fetchone()
    if row is None:
        return
    c.executemany(
        "INSERT OR IGNORE INTO documents (job_id, n, document_id, state) VALUES (?, ?, '', 'queued')",
        ((job_id, n) for n in range(row[0])),
    )
    gone = c.execute(
        "UPDATE documents SET state = 'assumed' WHERE job_id = ? AND part = 0 AND state IN ('queued', ?)",
        (job_id, State.RUNNING if running else State.QUEUED),
    ).rowcount
    if gone:
        c.execute("UPDATE jobs SET open = open - ? WHERE id = ?", (gone, job_id))
        changed(c, job_id)


def open_write(c: sqlite3.Connection, tenant: str, collection: str, document_id: str) -> bool:
    """Whether a document of this id is queued or running."""
    row = c.execute(
        "SELECT 1 FROM documents JOIN jobs ON jobs.id = job_id WHERE document_id = ? AND state IN (?, ?)"
        " AND part = 0 AND tenant = ? AND collection = ?",
        (document_id, *OPEN, tenant, collection),
    ).fetchone()
    return row is not None


def prune(c: sqlite3.Connection, before: float) -> None:
    """Forget what ended long ago."""
    for old in c.execute("SELECT id FROM jobs WHERE finished_at < ?", (before,)).fetchall():
        c.execute("DELETE FROM documents WHERE job_id = ?", old)
        c.execute("DELETE FROM jobs WHERE id = ?", old)
