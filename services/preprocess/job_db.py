"""The job store in a SQLite file, and the news of its changes for listeners in this process."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from ragline.errors import NotFound
from services.preprocess import job_sql as sql
from services.preprocess import order_sql
from services.preprocess.database import Database
from services.preprocess.job_schema import SCHEMA
from services.preprocess.jobs import Job, NewDocument, Part, State, Work

REFRESH_S = 2.0  # a listener looks again this often, for changes made by another process
SETTLE_S = 0.05  # changes closer together than this reach a listener as one


class JobDb:
    """A JobStore in one SQLite file; queued and running jobs go on after a restart."""

    def __init__(self, path: Path) -> None:
        self.db = Database(path, SCHEMA)
        self.listeners: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def create(self, tenant: str, collection: str, documents: Sequence[NewDocument]) -> str:
        """See JobStore."""
        job_id = f"job-{uuid.uuid4().hex}"
        await self.db.run(lambda c: sql.create(c, job_id, tenant, collection, documents))
        return job_id

    async def publish(self, job_id: str) -> None:
        """See JobStore."""
        await self.db.run(lambda c: c.execute("UPDATE jobs SET published = 1 WHERE id = ?", (job_id,)).close())

    async def unpublished(self) -> list[tuple[str, list[tuple[int, str, str, str]]]]:
        """See JobStore."""

        def select(c: sqlite3.Connection) -> list[tuple[str, int, str, str, str]]:
            return c.execute(
                "SELECT jobs.id, n, tenant, collection, document_id"
                " FROM open_documents JOIN jobs ON jobs.id = job_id WHERE published = 0 AND part = 0 ORDER BY seq"
            ).fetchall()

        jobs: dict[str, list[tuple[int, str, str, str]]] = defaultdict(list)
        for job_id, n, tenant, collection, document_id in await self.db.run(select):
            jobs[job_id].append((n, tenant, collection, document_id))
        return list(jobs.items())

    async def discard(self, job_id: str) -> list[str]:
        """See JobStore."""
        return await self.db.run(lambda c: sql.discard(c, job_id))

    async def get(self, tenant: str, job_id: str) -> Job:
        """See JobStore."""
        job = await self.db.run(lambda c: sql.job(c, tenant, job_id))
        if job is None:
            raise NotFound(f"There is no job {job_id!r}; finished jobs are forgotten after a while.")
        return job

    async def watch(self, tenant: str, job_id: str) -> AsyncIterator[Job]:
        """See JobStore."""
        changed = asyncio.Event()
        self.listeners[job_id].add(changed)
        try:
            while True:
                changed.clear()
                job = await self.get(tenant, job_id)
                yield job
                if job.ended:
                    return
                await news(changed)
        finally:
            self.listeners[job_id].discard(changed)
            if not self.listeners[job_id]:
                del self.listeners[job_id]

    async def cancel(self, tenant: str, job_id: str) -> list[str]:
        """See JobStore."""
        await self.get(tenant, job_id)
        return await self._change(job_id, lambda c: sql.cancel(c, job_id))

    async def begin(self, job_id: str, n: int) -> Work | None:
        """See JobStore."""
        work = await self.db.run(lambda c: sql.begin(c, job_id, n))
        self._tell(job_id)
        return work

    async def expand(self, work: Work, parts: Sequence[Part]) -> list[int]:
        """See JobStore."""
        numbers = await self.db.run(lambda c: sql.expand(c, work, parts))
        self._tell(work.job_id)
        return numbers

    async def finish(self, work: Work, state: State, reason: str = "") -> list[str]:
        """See JobStore."""
        return await self._change(work.job_id, lambda c: sql.end(c, work, state, reason))

    async def park(self, job_id: str, n: int, reason: str) -> None:
        """See JobStore."""
        await self.db.run(lambda c: sql.park(c, job_id, n, reason))
        self._tell(job_id)

    async def cancelled(self, job_id: str) -> bool:
        """See JobStore."""

        def select(c: sqlite3.Connection) -> bool:
            row = c.execute("SELECT cancelled FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return bool(row and row[0])

        return await self.db.run(select)

    async def leftover(self, work: Work) -> list[str]:
        """See JobStore."""
        name = (work.tenant, work.collection, work.document.id)

        def select(c: sqlite3.Connection) -> list[str]:
            rows = c.execute(
                "SELECT document_id FROM members AS m WHERE tenant = ? AND collection = ? AND container = ?"
                " AND document_id NOT IN"
                " (SELECT document_id FROM documents WHERE job_id = ? AND n = ? AND part > 0)"
                " AND NOT EXISTS (SELECT 1 FROM members AS o WHERE o.document_id = m.document_id"
                " AND o.tenant = m.tenant AND o.collection = m.collection AND o.container != m.container)",
                (*name, work.job_id, work.n),
            )
            return [document_id for (document_id,) in rows]

        return await self.db.run(select)

    async def current(self, tenant: str, collection: str, document_ids: Sequence[str], seq: int) -> bool:
        """See JobStore."""
        return await self.db.run(lambda c: order_sql.current(c, tenant, collection, document_ids, seq))

    async def next_seq(self) -> int:
        """See JobStore."""
        return await self.db.run(sql.advance)

    async def open_write(self, tenant: str, collection: str, document_id: str) -> bool:
        """See JobStore."""

        def select(c: sqlite3.Connection) -> bool:
            row = c.execute(
                "SELECT 1 FROM open_documents JOIN jobs ON jobs.id = job_id"
                " WHERE document_id = ? AND tenant = ? AND collection = ?",
                (document_id, tenant, collection),
            ).fetchone()
            return row is not None

        return await self.db.run(select)

    async def members(self, tenant: str, collection: str, document_id: str) -> list[str]:
        """See JobStore."""
        return await self.db.run(lambda c: order_sql.members(c, tenant, collection, document_id))

    async def tombstone(
        self, tenant: str, collection: str, document_id: str, seq: int
    ) -> tuple[list[str], list[str]]:
        """See JobStore."""
        return await self.db.run(lambda c: order_sql.tombstone(c, tenant, collection, document_id, seq))

    async def garbage(self) -> list[str]:
        """See JobStore."""
        return await self.db.run(lambda c: order_sql.garbage(c, "SELECT uri FROM blobs WHERE held = 2"))

    async def forget_blobs(self, uris: Sequence[str]) -> None:
        """See JobStore."""
        rows = [(uri,) for uri in uris]
        await self.db.run(lambda c: c.executemany("DELETE FROM blobs WHERE uri = ? AND held = 2", rows).close())

    async def known_blobs(self, uris: Sequence[str]) -> set[str]:
        """See JobStore."""

        def select(c: sqlite3.Connection) -> set[str]:
            wanted = set(uris)
            return {uri for (uri,) in c.execute("SELECT uri FROM blobs WHERE held < 2") if uri in wanted}

        return await self.db.run(select)

    async def prune(self, before: float) -> None:
        """See JobStore."""
        await self.db.run(lambda c: sql.prune(c, before))

    async def close(self) -> None:
        """See JobStore."""
        await self.db.close()

    async def _change(self, job_id: str, work: Callable[[sqlite3.Connection], list[str]]) -> list[str]:
        removable = await self.db.run(work)
        self._tell(job_id)
        return removable

    def _tell(self, job_id: str) -> None:
        for listener in self.listeners.get(job_id, ()):
            listener.set()


async def news(changed: asyncio.Event) -> None:
    """Wait for a change in this process, or long enough that another process may have made one."""
    try:
        await asyncio.wait_for(changed.wait(), REFRESH_S)
    except TimeoutError:
        return
    await asyncio.sleep(SETTLE_S)
