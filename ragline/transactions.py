"""A transaction of SQLite that is over when its block is, whatever happened in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(db: sqlite3.Connection, *, writes: bool = True) -> Iterator[None]:
    """Commit what is done inside, or none of it where that raises. One that ``writes`` waits for others first.

    For connections with ``isolation_level=None``. Raises sqlite3.Error.
    """
    db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
