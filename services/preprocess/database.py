"""One SQLite file behind one thread: every call is a transaction that is on disk when it returns."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Database:
    """A SQLite file in WAL mode with full fsync. Calls run one after the other, off the event loop."""

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self.schema = schema
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=path.stem)
        self.connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work`` in one transaction: all of it is durable on return, or none on an exception."""
        task = asyncio.get_running_loop().run_in_executor(self.thread, self._transact, work)
        # A caller that is cancelled must not see its change half known: the transaction ends first.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Close the file; calls after this fail."""
        await asyncio.get_running_loop().run_in_executor(self.thread, self._close)
        self.thread.shutdown(wait=False)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self.connection or self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.executescript(self.schema)
        return self.connection

    def _close(self) -> None:
        if self.connection:
            self.connection.close()
            self.connection = None
