"""The SQL of order and ownership: which write of an id is the newest, which bytes and parts belong to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from services.preprocess.jobs import STORED, State, Work


def set_stamp(c: sqlite3.Connection, tenant: str, collection: str, document_id: str, seq: int) -> None:
    """Remember the newest write or delete applied to an id."""
    c.execute(
        "INSERT INTO stamps VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)",
        (tenant, collection, document_id, seq),
    )


def current(c: sqlite3.Connection, tenant: str, collection: str, document_ids: Sequence[str], seq: int) -> bool:
    """Whether no later write or delete was applied to any of the ids; see JobStore.current."""
    return not any(
        c.execute(
            "SELECT 1 FROM stamps WHERE tenant = ? AND collection = ? AND document_id = ? AND seq > ?",
            (tenant, collection, document_id, seq),
        ).fetchone()
        for document_id in document_ids
    )


def settle_blob(c: sqlite3.Connection, ended: Work, state: State) -> list[str]:
    """Keep the bytes of a stored document, let go of the ones before; returns what can be removed."""
    name = (ended.document.id, ended.tenant, ended.collection)
    container = c.execute(
        "SELECT 1 FROM documents WHERE job_id = ? AND n = ? AND part = 0 AND container = 1",
        (ended.job_id, ended.n),
    ).fetchone()
    if state == State.SUPERSEDED and container:
        c.execute("DELETE FROM members WHERE container = ? AND tenant = ? AND collection = ?", name)
    elif state in STORED and container:
        c.execute(
            "DELETE FROM members WHERE container = ? AND tenant = ? AND collection = ? AND document_id NOT IN"
            " (SELECT document_id FROM documents WHERE job_id = ? AND n = ? AND part > 0)",
            (*name, ended.job_id, ended.n),
        )
    elif state in STORED:
        c.execute("DELETE FROM members WHERE document_id = ? AND tenant = ? AND collection = ?", name)
        c.execute("DELETE FROM members WHERE container = ? AND tenant = ? AND collection = ?", name)
    if state == State.DONE and container:  # the parts have no bytes of their own, and are found by their file
        return garbage(
            c,
            "UPDATE blobs SET held = 2"
            " WHERE uri = ? OR (document_id = ? AND tenant = ? AND collection = ? AND held = 1) RETURNING uri",
            ended.document.uri,
            *name,
        )
    if state != State.DONE:
        return garbage(c, "UPDATE blobs SET held = 2 WHERE uri = ? RETURNING uri", ended.document.uri)
    c.execute("UPDATE blobs SET held = 1 WHERE uri = ?", (ended.document.uri,))
    return garbage(
        c,
        "UPDATE blobs SET held = 2"
        " WHERE document_id = ? AND tenant = ? AND collection = ? AND held = 1 AND uri != ? RETURNING uri",
        *name,
        ended.document.uri,
    )


def garbage(c: sqlite3.Connection, statement: str, *values: object) -> list[str]:
    """The addresses that a statement returns."""
    return [uri for (uri,) in c.execute(statement, values).fetchall()]


def tombstone(
    c: sqlite3.Connection, tenant: str, collection: str, document_id: str, seq: int
) -> tuple[list[str], list[str]]:
    """Make older writes stale; returns the blobs to remove and the parts to delete too."""
    set_stamp(c, tenant, collection, document_id, seq)
    name = (document_id, tenant, collection)
    c.execute("DELETE FROM members WHERE document_id = ? AND tenant = ? AND collection = ?", name)
    uris = garbage(
        c,
        "UPDATE blobs SET held = 2 WHERE document_id = ? AND tenant = ? AND collection = ? AND held = 1"
        " RETURNING uri",
        *name,
    )
    return uris, members(c, tenant, collection, document_id)


def members(c: sqlite3.Connection, tenant: str, collection: str, container: str) -> list[str]:
    """The documents that came out of a file."""
    rows = c.execute(
        "SELECT document_id FROM members WHERE tenant = ? AND collection = ? AND container = ?",
        (tenant, collection, container),
    )
    return [document_id for (document_id,) in rows]
