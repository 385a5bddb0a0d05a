"""The order of writes: numbers of one durable sequence, and the newest number applied to each document id."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ragline.sequence import microseconds
from services.retriever.stores import Key

BLOCK = 1_000_000  # numbers made durable at a time, a second's worth: what a restart may skip
PRUNED_AT_ONCE = 500


class Numbers:
    """Gives out numbers from memory that the record holds durably as taken ("hi-lo"), so that none comes twice.

    They follow the clock in microseconds and only ever grow, whatever the clock does. So a writer that cannot ask
    while the retriever is away can number by its own clock, and comes after all before it and before all after.
    Any thread may take what is below ``ceiling``; beyond it only the writer goes, whose transaction raises it.
    """

    def __init__(self, ceiling: int, block: int = BLOCK, clock: Callable[[], int] = microseconds) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.block = block
        self.ceiling = ceiling  # the record says that all up to it may be taken
        self.next = ceiling + 1

    def take(self, count: int) -> int | None:
        """The first of ``count`` numbers, or None where the disk has to be asked."""
        with self.lock:
            first = max(self.next, self.clock())
            if first + count - 1 > self.ceiling:
                return None
            self.next = first + count
            return first

    def claim(self, count: int) -> int:
        """The first of ``count`` numbers, which count only once ``owed`` is durable (the writer's thread)."""
        with self.lock:
            first = max(self.next, self.clock())
            self.next = first + count
            return first

    def seen(self, number: int) -> None:
        """Go on behind ``number``, which came from elsewhere, such as a record restored from a backup."""
        with self.lock:
            self.next = max(self.next, number + 1)

    def owed(self) -> int | None:
        """The ceiling that has to become durable before this transaction's numbers count; None where it is."""
        with self.lock:
            return None if self.next - 1 <= self.ceiling else self.next - 1 + self.block

    def grant(self, ceiling: int) -> None:
        """All up to ``ceiling`` may be taken now."""
        with self.lock:
            self.ceiling = ceiling


@dataclass(frozen=True)
class Stamp:
    """The newest number applied to an id that no document has, or that files of many have.

    ``passages`` is what the delete of that number removed, None where it found nothing or was none.
    """

    seq: int
    passages: int | None


class Stamps:
    """The table of them, in the writer's transactions. A document that is there carries its number itself."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def get(self, key: Key, name: str) -> Stamp | None:
        """The stamp of an id."""
        found = self.db.execute(
            "SELECT seq, passages FROM stamps WHERE tenant = ? AND collection = ? AND name = ?",
            (key.tenant, key.collection, name),
        ).fetchone()
        return None if found is None else Stamp(*found)

    def set(self, key: Key, name: str, stamp: Stamp, now: float) -> None:
        """Note a number, unless a newer one is noted."""
        self.db.execute(
            "INSERT INTO stamps VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET seq = excluded.seq, passages = excluded.passages, at = excluded.at WHERE seq <= excluded.seq",
            (key.tenant, key.collection, name, stamp.seq, stamp.passages, int(now)),
        )

    def prune(self, before: float, now: float) -> int:
        """Forget stamps older than ``before``, some at a time; returns how many were looked at.

        A file's stamp stays while documents are there that came out of it.
        """
        old = self.db.execute(
            "SELECT s.tenant, s.collection, s.name, EXISTS (SELECT 1 FROM documents d JOIN collections c "
            "ON c.id = d.collection WHERE c.tenant = s.tenant AND c.name = s.collection "
            "AND d.container = s.name AND d.container <> '' AND d.died IS NULL) "
            "FROM stamps s WHERE s.at < ? ORDER BY s.at LIMIT ?",
            (int(before), PRUNED_AT_ONCE),
        ).fetchall()
        one = "WHERE tenant = ? AND collection = ? AND name = ?"
        self.db.executemany(f"DELETE FROM stamps {one}", [name for *name, needed in old if not needed])  # noqa: S608
        kept = [(int(now), *name) for *name, needed in old if needed]
        self.db.executemany(f"UPDATE stamps SET at = ? {one}", kept)  # noqa: S608 - a constant
        return len(old)

    def reserved(self) -> int:
        """All numbers up to this one may have been taken."""
        found: int = self.db.execute("SELECT reserved FROM numbers").fetchone()[0]
        return found

    def reserve(self, ceiling: int) -> None:
        """Note that all numbers up to ``ceiling`` may be taken."""
        self.db.execute("UPDATE numbers SET reserved = max(reserved, ?)", (ceiling,))
