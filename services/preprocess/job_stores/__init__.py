"""Where the progress of jobs is kept: one interface, chosen by a URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ragline import redis_client
from ragline.backends import load
from ragline.urls import Location, parse
from services.preprocess.jobs import Head, Job, NewDocument, State, Work

MAX_OPEN_JOBS = 1000
SCHEMES = ("sqlite", *redis_client.SCHEMES)


@dataclass(frozen=True)
class Parts:
    """What a job store is made of; jobs are remembered ``ttl_s`` seconds after their end."""

    location: Location
    ttl_s: float


class JobStore(Protocol):
    """The progress of jobs: for clients to look at, never what decides whether a document is stored.

    A record that was lost is begun anew by whatever is reported next, as every report brings the job's head.
    How a document ended is noted by its number and once: the first end counts, however often and from
    however many workers it is reported. Every method raises Unavailable while the store is away.
    """

    async def create(self, head: Head, documents: Sequence[NewDocument]) -> None:
        """Write down a job; those of its documents that have a ``reason`` have failed."""
        ...

    async def get(self, tenant: str, job_id: str) -> Job:
        """The job now; raises NotFound."""
        ...

    def watch(self, tenant: str, job_id: str) -> AsyncIterator[Job]:
        """The job now and after each change, wherever it was made, until it has ended. Raises NotFound.

        Changes close together come as one. Once it has begun, a store that is away for less than a minute, or
        that has lost the record for as long, is waited for.
        """
        ...

    async def cancel(self, tenant: str, job_id: str) -> None:
        """Skip the documents that have not started; an ended job stays as it is. Raises NotFound."""
        ...

    async def begin(self, work: Work) -> State:
        """Take a document in hand: RUNNING, or how it has ended already.

        One that failed after all attempts is taken again, one of a cancelled job ends here.
        """
        ...

    async def expand(self, work: Work, parts: int) -> list[int]:
        """The file holds so many documents: count them in its place; the numbers, from 1, of those still open."""
        ...

    async def finish(self, work: Work, state: State, reason: str = "") -> None:
        """End a document, or a part of a file; a file takes along those of its parts that never ended."""
        ...

    async def park(self, work: Work, reason: str) -> None:
        """What is open of this document failed after all attempts; its message is a dead letter."""
        ...

    async def cancelled(self, job_id: str) -> bool:
        """Whether the job was cancelled."""
        ...

    async def open_write(self, tenant: str, collection: str, document_id: str) -> bool:
        """Whether a document of this id that was sent is still queued or running."""
        ...

    async def open_jobs(self) -> list[str]:
        """Ids of jobs that have not ended, at most a thousand."""
        ...

    async def version(self, job_id: str) -> int:
        """A number that grows with each change of a job; 0 where there is no such job."""
        ...

    async def assume(self, job_id: str, *, running: bool) -> None:
        """The queue holds nothing of this job: what is queued, or ``running`` too, has ended, nobody knows how."""
        ...

    async def prune(self, before: float) -> None:
        """Forget jobs that ended before this time, in seconds since the epoch."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def open(url: str, *, ttl_s: float) -> JobStore:  # noqa: A001 - read as job_stores.open
    """The job store that a URL names: ``sqlite:///path/to/jobs.db`` or one of the Redis URLs.

    Raises SettingsError for an unknown scheme or a bad option.
    """
    location = parse(url, SCHEMES)
    name = "sqlite" if location.scheme == "sqlite" else "redis"
    own = location.options if name == "sqlite" else {}  # the client of Redis reads its options itself
    store: JobStore = load(__name__, name, Parts(location, ttl_s), own)
    return store
