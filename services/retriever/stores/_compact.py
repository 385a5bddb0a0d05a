"""Gives back the room of what was deleted, in steps short enough that writes between them hardly wait."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import structlog

from services.retriever.stores._held import Held
from services.retriever.stores._record import Record
from services.retriever.stores._renewal import Renewal
from services.retriever.stores._writer import Step, Writer

PURGED = 256  # documents in one step
VACUUMED = 2048  # pages in one step: 8 MB
FREE_SHARE = 0.25  # of the file, from which it is made smaller without being asked
FREE_PAGES = 4096  # and at least so many: 16 MB
INCREMENTAL = 2  # what PRAGMA auto_vacuum says of a file that can give back pages a few at a time

log = structlog.get_logger(__name__)


class Compaction:
    """Makes the record and the indexes of some collections as small as what lives in them."""

    def __init__(self, folder: Path, record: Record, writer: Writer) -> None:
        self.folder = folder
        self.record = record
        self.db = record.db
        self.writer = writer
        self.renewal = Renewal(record, writer)

    def run(self, collections: Iterable[Held]) -> tuple[int, int]:
        """Bytes on the disk before and after; raises Unavailable where the disk refuses."""
        before = size(self.folder)
        for held in collections:
            self.purge(held)
            self.renewal.words(held)
        if self.write(lambda _: (incremental(self.db), None)):
            while self.write(lambda _: (vacuumed(self.db, VACUUMED), None)):
                pass
        else:
            self.write(lambda _: (rewritten(self.db), None), alone=True)
        self.write(lambda _: (truncated(self.db), None), alone=True)
        after = size(self.folder)
        log.info("compacted", bytes_before=before, bytes_after=after)
        return before, after

    def purge(self, held: Held) -> None:
        """Delete the rows that no reader can ask for any more, some documents at a time."""
        while self.write(lambda _: (self.record.purge(held.current.collection, held.oldest(), PURGED), None)):
            pass

    def write(self, step: Step, *, alone: bool = False) -> int:
        """Do something in the writer's next transaction, or alone, and wait for it."""
        result: int = self.writer.submit(step, 0, alone=alone).result()
        return result


def incremental(db: sqlite3.Connection) -> bool:
    """Whether the file can give back pages a few at a time; one of an earlier release cannot."""
    return int(db.execute("PRAGMA auto_vacuum").fetchone()[0]) == INCREMENTAL


def vacuumed(db: sqlite3.Connection, pages: int) -> int:
    """Give back some free pages; returns how many are left."""
    db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    left: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    return left


def trimmed(db: sqlite3.Connection) -> bool:
    """One step of making a file smaller that is free in large part; says whether there was reason to."""
    free: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    if free < max(FREE_PAGES, FREE_SHARE * pages):
        return False
    return vacuumed(db, VACUUMED) < free


def rewritten(db: sqlite3.Connection) -> int:
    """Write the whole file anew as one that can give back pages; readers go on, writes wait for it."""
    db.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
    db.execute("VACUUM")
    return 0


def truncated(db: sqlite3.Connection) -> int:
    """Empty the write-ahead log as far as readers let it; nobody is waited for."""
    waiting = db.execute("PRAGMA busy_timeout").fetchone()[0]
    db.execute("PRAGMA busy_timeout = 0")
    try:
        found: int = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        db.execute(f"PRAGMA busy_timeout = {waiting}")
    return found


def size(folder: Path) -> int:
    """Bytes of all files below ``folder``; one that goes meanwhile counts as none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total
