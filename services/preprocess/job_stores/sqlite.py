"""Keeps jobs in one SQLite file, for the processes of one machine."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ragline.errors import NotFound
from services.preprocess.job_stores import MAX_OPEN_JOBS, JobStore, Parts, _schema, _sql
from services.preprocess.job_stores._database import Database
from services.preprocess.job_stores._watching import Listeners
from services.preprocess.jobs import Head, Job, NewDocument, State, Work

REFRESH_S = 1.0  # a listener looks again this often, for changes made by another process

T = TypeVar("T")


def load(parts: Parts) -> JobStore:
    """``sqlite:///path/to/jobs.db``; raises SettingsError where the file cannot be used."""
    path = parts.location.file()
    _schema.check(path)
    return SqliteJobs(path)


class SqliteJobs:
    """A JobStore in a file; jobs go on after a restart. Listeners of this process hear of changes at once."""

    def __init__(self, path: Path) -> None:
        self.db = Database(path, _schema.prepare)
        self.listeners = Listeners(REFRESH_S)

    async def create(self, head: Head, documents: Sequence[NewDocument]) -> None:
        """See JobStore."""
        await self._change(head.id, lambda c: _sql.create(c, head, documents))

    async def get(self, tenant: str, job_id: str) -> Job:
        """See JobStore."""
        job = await self.db.run(lambda c: _sql.job(c, tenant, job_id))
        if job is None:
            raise NotFound(f"There is no job {job_id!r}; finished jobs are forgotten after a while.")
        return job

    def watch(self, tenant: str, job_id: str) -> AsyncIterator[Job]:
        """See JobStore."""
        return self.listeners.follow(self, tenant, job_id)

    async def cancel(self, tenant: str, job_id: str) -> None:
        """See JobStore."""
        await self.get(tenant, job_id)
        await self._change(job_id, lambda c: _sql.cancel(c, job_id))

    async def begin(self, work: Work) -> State:
        """See JobStore."""
        return await self._change(work.job.id, lambda c: _sql.begin(c, work))

    async def expand(self, work: Work, parts: int) -> list[int]:
        """See JobStore."""
        return await self._change(work.job.id, lambda c: _sql.expand(c, work, parts))

    async def finish(self, work: Work, state: State, reason: str = "") -> None:
        """See JobStore."""
        await self._change(work.job.id, lambda c: _sql.end(c, work, state, reason))

    async def park(self, work: Work, reason: str) -> None:
        """See JobStore."""
        await self._change(work.job.id, lambda c: _sql.park(c, work, reason))

    async def cancelled(self, job_id: str) -> bool:
        """See JobStore."""
        return bool(await self._number("SELECT cancelled FROM jobs WHERE id = ?", job_id))

    async def open_write(self, tenant: str, collection: str, document_id: str) -> bool:
        """See JobStore."""
        return await self.db.run(lambda c: _sql.open_write(c, tenant, collection, document_id))

    async def open_jobs(self) -> list[str]:
        """See JobStore."""
        query = "SELECT id FROM jobs WHERE finished_at IS NULL ORDER BY created_at LIMIT ?"
        rows = await self.db.run(lambda c: c.execute(query, (MAX_OPEN_JOBS,)).fetchall())
        return [job_id for (job_id,) in rows]

    async def version(self, job_id: str) -> int:
        """See JobStore."""
        return await self._number("SELECT version FROM jobs WHERE id = ?", job_id)

    async def assume(self, job_id: str, *, running: bool) -> None:
        """See JobStore."""
        await self._change(job_id, lambda c: _sql.assume(c, job_id, running=running))

    async def prune(self, before: float) -> None:
        """See JobStore."""
        await self.db.run(lambda c: _sql.prune(c, before))

    async def close(self) -> None:
        """See JobStore."""
        await self.db.close()

    async def _change(self, job_id: str, work: Callable[[sqlite3.Connection], T]) -> T:
        result = await self.db.run(work)
        self.listeners.tell(job_id)
        return result

    async def _number(self, query: str, job_id: str) -> int:
        row = await self.db.run(lambda c: c.execute(query, (job_id,)).fetchone())
        return int(row[0]) if row else 0
