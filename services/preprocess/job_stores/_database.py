"""One SQLite file behind one thread: every call is a transaction that is on disk when it returns."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ragline.errors import Unavailable
from ragline.transactions import transaction

BUSY_S = 30

T = TypeVar("T")


class Database:
    """A SQLite file in WAL mode with full fsync. Calls run one after the other, off the event loop."""

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None]) -> None:
        self.path = path
        self.prepare = prepare
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=path.stem)
        self.connection: sqlite3.Connection | None = None
        self.closed = False

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work`` in one transaction: all of it is durable on return, or none on an exception.

        Raises Unavailable where the file cannot be used now, as on a full disk.
        """
        task = asyncio.get_running_loop().run_in_executor(self.thread, self._transact, work)
        # A caller that is cancelled must not see its change half known: the transaction ends first.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Close the file; calls after this fail. Closing it again changes nothing."""
        if self.closed:
            return
        self.closed = True
        await asyncio.get_running_loop().run_in_executor(self.thread, self._close)
        self.thread.shutdown(wait=False)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self.connection or self._open()
            with transaction(connection):
                return work(connection)
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(f"{self.path.name} cannot be used: {error}.") from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_S)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self.prepare(connection)
        except BaseException:
            connection.close()
            raise
        self.connection = connection
        return connection

    def _close(self) -> None:
        if self.connection:
            self.connection.close()
            self.connection = None
