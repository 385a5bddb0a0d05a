"""Keeps a cache in one SQLite file, bounded in bytes, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import PositiveInt

from ragline.cache import CLAIM, Cache
from ragline.settings import SettingsError
from ragline.urls import Location

R = TypeVar("R")

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, expires REAL, used INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entry_expires ON entry (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS entry_used ON entry (used);
"""
VERSION = 1
READERS = 2
MAX_PARAMETERS = 500  # keys in one statement
MAX_TOUCHED = 10_000  # reads remembered until the next write
FULL = 0.95  # share of the size kept after an eviction, so that not every write evicts
BUSY_MS = 2_000

log = structlog.get_logger(__name__)


def load(parts: Location, max_mb: PositiveInt = 4096) -> Cache:
    """``sqlite:///path/to/cache.db?max_mb=4096``."""
    return SqliteCache(parts.file(), max_mb * 1_000_000)


class SqliteCache:
    """Holds at most about ``max_bytes`` on the disk; what was used least recently goes first.

    A cache is never the record: a file that is damaged is put aside under another name and begun anew, and
    when the disk fails reads miss and writes are dropped, with a line in the log. Raises SettingsError if the
    file cannot be opened at all.
    """

    def __init__(self, path: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.path = path.absolute()
        self.max_bytes = max_bytes
        self._clock = clock
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._generation = 0  # counts the files begun anew; a thread with an older one opens the new file
        self._touched: dict[str, int] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._prepare()
        except (OSError, sqlite3.OperationalError) as error:
            raise SettingsError(f"the cache {self.path} cannot be opened: {error}.") from error
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="cache-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cache-write")

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value a key, in order; None for a miss or an expired entry."""
        wanted = list(dict.fromkeys(keys))
        nothing: dict[str, bytes] = {}
        found = await self._off(self._readers, lambda: self._read(wanted), nothing)
        return [found.get(key) for key in keys]

    async def set_many(self, items: Mapping[str, bytes], ttl_s: float | None = None) -> None:
        """Keep the items; one that is larger than the whole cache is not kept."""
        kept = {key: value for key, value in items.items() if len(value) < self.max_bytes * FULL}
        await self._off(self._writer, lambda: self._write(kept, ttl_s), None)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Forget the keys."""
        wanted = list(keys)
        await self._off(self._writer, lambda: self._delete(wanted), None)

    async def claim(self, key: str, ttl_s: float) -> bool:
        """Whether the work of that name is now the caller's; True where the file cannot be written."""
        return await self._off(self._writer, lambda: self._take(CLAIM + key, ttl_s), True)

    async def release(self, key: str) -> None:
        """Let others claim it."""
        await self.delete_many([CLAIM + key])

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await asyncio.to_thread(self._close)

    async def _off(self, threads: ThreadPoolExecutor, work: Callable[[], R], otherwise: R) -> R:
        """Do ``work`` off the event loop; when the file fails it, log that and return ``otherwise``."""
        return await asyncio.get_running_loop().run_in_executor(threads, lambda: self._guarded(work, otherwise))

    def _guarded(self, work: Callable[[], R], otherwise: R) -> R:
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            if type(error) is sqlite3.DatabaseError:  # damaged, or no database at all; its subclasses are not that
                self._begin_anew(getattr(self._local, "generation", self._generation), error)
            else:  # locked, disk full, unreadable: it may pass
                log.warning("cache unavailable", path=str(self.path), error=str(error))
        return otherwise

    def _read(self, keys: Sequence[str]) -> dict[str, bytes]:
        now = self._clock()
        found: dict[str, bytes] = {}
        for part in parts(keys):
            rows = self._connection().execute(
                f"SELECT key, value FROM entry WHERE key IN ({marks(part)}) AND (expires IS NULL OR expires > ?)",  # noqa: S608 - only question marks
                (*part, now),
            )
            found.update(rows)
        if len(self._touched) < MAX_TOUCHED:
            with self._lock:
                self._touched.update(dict.fromkeys(found, int(now)))
        return found

    def _write(self, items: Mapping[str, bytes], ttl_s: float | None) -> None:
        now = self._clock()
        expires = None if ttl_s is None else now + ttl_s
        with self._transaction() as connection:
            self._note_use(connection)
            connection.executemany(
                "INSERT INTO entry (key, expires, used, value) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
                " SET expires = excluded.expires, used = excluded.used, value = excluded.value",
                [(key, expires, int(now), value) for key, value in items.items()],
            )
            self._make_room(connection, now)

    def _take(self, key: str, ttl_s: float) -> bool:
        now = self._clock()
        with self._transaction() as connection:
            taken = connection.execute(
                "INSERT INTO entry (key, expires, used, value) VALUES (?, ?, ?, x'') ON CONFLICT (key) DO UPDATE"
                " SET expires = excluded.expires, used = excluded.used WHERE expires <= ?",
                (key, now + ttl_s, int(now), now),
            )
            return taken.rowcount > 0

    def _delete(self, keys: Sequence[str]) -> None:
        with self._transaction() as connection:
            for part in parts(keys):
                connection.execute(f"DELETE FROM entry WHERE key IN ({marks(part)})", part)  # noqa: S608

    def _note_use(self, connection: sqlite3.Connection) -> None:
        """Write down what was read since the last write: a read itself never writes."""
        with self._lock:
            touched, self._touched = self._touched, {}
        connection.executemany(
            "UPDATE entry SET used = ? WHERE key = ?", [(at, key) for key, at in touched.items()]
        )

    def _make_room(self, connection: sqlite3.Connection, now: float) -> None:
        if size(connection) <= self.max_bytes:
            return
        connection.execute("DELETE FROM entry WHERE expires <= ?", (now,))
        while (excess := size(connection) - self.max_bytes * FULL) > 0:
            ids = oldest(connection, excess)
            if not ids:
                return
            connection.executemany("DELETE FROM entry WHERE id = ?", ids)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection to the file as it is now."""
        local = self._local
        if getattr(local, "generation", None) != self._generation:
            with self._lock:
                local.connection, local.generation = connect(self.path), self._generation
                self._connections.append(local.connection)
        connection: sqlite3.Connection = local.connection
        return connection

    def _prepare(self) -> None:
        """Make the file ready; one that is damaged or of another version is put aside."""
        try:
            self._create()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._put_aside(str(error))
            self._create()

    def _create(self) -> None:
        connection = connect(self.path)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, VERSION}:
                raise sqlite3.DatabaseError(f"it has version {version}, not {VERSION}")
            connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
        finally:
            connection.close()

    def _begin_anew(self, generation: int, error: sqlite3.DatabaseError) -> None:
        with self._lock:
            if generation != self._generation:
                return  # another thread met the same damage first
            try:
                self._put_aside(str(error))
                self._create()
            except (OSError, sqlite3.Error) as again:
                log.error("cache cannot be begun anew", path=str(self.path), error=str(again))  # noqa: TRY400
                return
            self._generation += 1

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        log.error("cache damaged, begun anew", path=str(self.path), aside=str(aside), error=why)

    def _close(self) -> None:
        self._readers.shutdown()
        self._writer.shutdown()
        for connection in self._connections:
            connection.close()
        self._connections.clear()


def connect(path: Path) -> sqlite3.Connection:
    """A connection that is fast rather than durable: losing the last writes of a cache costs nothing."""
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def size(connection: sqlite3.Connection) -> int:
    """Bytes of the file that are in use, free pages not counted."""
    pages, free, page = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page)


def oldest(connection: sqlite3.Connection, excess: float) -> list[tuple[int]]:
    """The least recently used entries that hold about ``excess`` bytes."""
    ids: list[tuple[int]] = []
    for entry, held in connection.execute("SELECT id, length(key) + length(value) FROM entry ORDER BY used, id"):
        ids.append((entry,))
        excess -= held
        if excess <= 0:
            break
    return ids


def parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """The keys in runs that one statement can take."""
    for start in range(0, len(keys), MAX_PARAMETERS):
        yield keys[start : start + MAX_PARAMETERS]


def marks(keys: Sequence[str]) -> str:
    """A question mark for each key."""
    return ", ".join("?" * len(keys))
