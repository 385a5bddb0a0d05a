"""Keeps lists in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pydantic import PositiveInt

from ragline.entries import Entries
from ragline.errors import Unavailable
from ragline.settings import SettingsError
from ragline.transactions import transaction
from ragline.urls import Location

T = TypeVar("T")

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS list (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, expires REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS list_expires ON list (expires);
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, list INTEGER NOT NULL REFERENCES list (id) ON DELETE CASCADE,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entry_list ON entry (list, seq);
"""
BUSY_S = 2.0
SWEPT = 100  # lists forgotten with one append: more than an append can add, so the sweep keeps up
PAGE = 500  # keys in one statement


def load(parts: Location, max_mb: PositiveInt = 4096) -> Entries:
    """``sqlite:///path/to/file.db?max_mb=4096``."""
    return SqliteEntries(parts.file(), max_mb * 1_000_000)


class SqliteEntries:
    """Holds at most about ``max_bytes`` on the disk; more is refused until something expires or is deleted.

    What was appended is on the disk. Lists whose time is over are swept with each append. Raises SettingsError if
    the file cannot be opened.
    """

    def __init__(self, path: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.path = path.absolute()
        self.max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = connect(self.path)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"the store {self.path} cannot be opened: {error}.") from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)

    async def append(self, key: str, entry: bytes, *, ttl_s: float, limit: int, lasting: bool = True) -> None:
        """See ``Entries``."""

        def work(db: sqlite3.Connection, now: float) -> None:
            sweep(db, now)
            if size(db) + len(entry) > self.max_bytes:
                raise Unavailable(
                    f"{self.path.name} is full at {self.max_bytes:,} bytes; raise its max_mb or shorten the time "
                    "that things are kept."
                )
            db.execute("DELETE FROM list WHERE key = ? AND expires <= ?", (key, now))
            [(place,)] = db.execute(
                "INSERT INTO list (key, expires) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET expires = excluded.expires RETURNING id",
                (key, now + ttl_s),
            ).fetchall()
            db.execute("INSERT INTO entry (list, body) VALUES (?, ?)", (place, entry))
            db.execute(
                "DELETE FROM entry WHERE list = ?1 AND seq <="
                " (SELECT seq FROM entry WHERE list = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                (place, limit),
            )

        await self._run(work, writes=True)

    async def read(self, key: str) -> list[bytes]:
        """See ``Entries``."""

        def work(db: sqlite3.Connection, now: float) -> list[bytes]:
            rows = db.execute(
                "SELECT body FROM entry WHERE list = (SELECT id FROM list WHERE key = ? AND expires > ?)"
                " ORDER BY seq",
                (key, now),
            )
            return [row[0] for row in rows]

        return await self._run(work)

    async def delete(self, key: str) -> bool:
        """See ``Entries``."""

        def work(db: sqlite3.Connection, now: float) -> bool:
            gone = db.execute("DELETE FROM list WHERE key = ? RETURNING expires", (key,)).fetchall()
            return any(expires > now for (expires,) in gone)

        return await self._run(work, writes=True)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """See ``Entries``."""
        after = 0
        while True:

            def work(db: sqlite3.Connection, now: float, after: int = after) -> list[tuple[int, str]]:
                return db.execute(
                    "SELECT id, key FROM list WHERE id > ? AND expires > ? AND substr(key, 1, ?) = ?"
                    " ORDER BY id LIMIT ?",
                    (after, now, len(prefix), prefix, PAGE),
                ).fetchall()

            page = await self._run(work)
            for _, key in page:
                yield key
            if len(page) < PAGE:
                return
            after = page[-1][0]

    async def check(self) -> None:
        """Raise Unavailable where the file cannot be written to."""
        await self._run(lambda db, now: None, writes=True)

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await asyncio.to_thread(self._close)

    async def _run(self, work: Callable[[sqlite3.Connection, float], T], *, writes: bool = False) -> T:
        """Do ``work`` in one transaction, off the event loop; raises Unavailable where the file fails it."""
        try:
            task = asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work, writes)
        except RuntimeError as error:
            raise Unavailable(f"{self.path.name} is closed.") from error
        # A caller that is cancelled must not leave its change half known: the transaction ends first.
        return await asyncio.shield(task)

    def _transact(self, work: Callable[[sqlite3.Connection, float], T], writes: bool) -> T:
        try:
            with transaction(self._connection, writes=writes):
                return work(self._connection, self._clock())
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self.path.name} cannot be used: {error}.") from error

    def _close(self) -> None:
        with self._lock:
            self._thread.shutdown()
            self._connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the file, whose commits are on the disk when they return; it is made ready if need be."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {16 << 20}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, VERSION}:
            raise sqlite3.DatabaseError(f"it has version {version}, and this program reads version {VERSION}")
        connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def sweep(db: sqlite3.Connection, now: float) -> None:
    """Forget lists whose time is over, so many that the sweep keeps up with what is added."""
    db.execute(
        "DELETE FROM list WHERE id IN (SELECT id FROM list WHERE expires <= ? ORDER BY expires LIMIT ?)",
        (now, SWEPT),
    )


def size(db: sqlite3.Connection) -> int:
    """Bytes of the file that are in use, free pages not counted."""
    pages, free, page = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page)
