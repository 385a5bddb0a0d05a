"""What became of each document that was sent: jobs, their documents, and the order of writes and deletes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

MAX_ERRORS = 1000


class State(StrEnum):
    """Where one document stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    UNCHANGED = "unchanged"  # the collection held exactly this already
    SUPERSEDED = "superseded"  # a delete or a newer write was acknowledged after this one
    FAILED = "failed"
    PARKED = "parked"  # failed after all attempts; its message is a dead letter and may be replayed
    CANCELLED = "cancelled"


OPEN = (State.QUEUED, State.RUNNING)
BROKEN = (State.FAILED, State.PARKED)
STORED = (State.DONE, State.UNCHANGED)


@dataclass(frozen=True)
class NewDocument:
    """A document as it came in. ``reason`` is set where the door refused it: it ends as failed at once.

    ``uri`` is where its raw bytes lie and ``sha256`` their hash in hex; ``name`` is a file's name, empty for
    text sent as JSON; ``media_type`` is what the sender says it is, and may be empty.
    """

    id: str
    title: str = ""
    metadata_json: str = "{}"
    name: str = ""
    media_type: str = ""
    uri: str = ""
    sha256: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Work:
    """One document of a job in the worker's hands. ``seq`` orders it among all writes and deletes."""

    job_id: str
    n: int
    tenant: str
    collection: str
    seq: int
    document: NewDocument
    part: int = 0  # from 1 for the documents that a file of many holds


@dataclass(frozen=True)
class Part:
    """One document of a file that holds many; ``number`` counts from 1."""

    number: int
    document_id: str


@dataclass(frozen=True)
class JobError:
    """Why a document did not go in."""

    document_id: str
    reason: str


@dataclass(frozen=True)
class Job:
    """A job's progress, derived from the states of its documents. Times are seconds since the epoch."""

    id: str
    collection: str
    created_at: float
    finished_at: float | None
    cancelled: bool
    published: bool
    counts: Mapping[State, int] = field(default_factory=dict)
    errors: Sequence[JobError] = ()

    @property
    def total(self) -> int:
        """Documents known so far; it grows when a file turns out to hold many."""
        return sum(self.counts.values())

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.finished_at is not None

    @property
    def state(self) -> str:
        """queued, running, done, failed or cancelled."""
        if not self.ended:
            started = self.published and self.total > self.count(State.QUEUED)
            return "running" if started else "queued"
        if self.cancelled:
            return "cancelled"
        return "failed" if self.count(*BROKEN) == self.total else "done"

    def count(self, *states: State) -> int:
        """How many documents are in one of ``states``."""
        return sum(self.counts.get(state, 0) for state in states)

    def view(self) -> dict[str, Any]:
        """The job as clients see it; ``errors`` holds the first 1000."""
        return {
            "id": self.id,
            "state": self.state,
            "done": self.total - self.count(*OPEN, State.CANCELLED),
            "total": self.total,
            "errors": [{"document_id": e.document_id, "reason": e.reason} for e in self.errors],
            "collection": self.collection,
            "failed": self.count(*BROKEN),
            "unchanged": self.count(State.UNCHANGED),
            "created_at": self.created_at,
            "finished_at": self.finished_at,
        }


class JobStore(Protocol):
    """Durable record of jobs. Every method returns once what it changed would survive a crash.

    The order of writes is the order of acknowledgement: each document sent and each delete takes the next
    number of one sequence, and ``stamp``s keep the newest number applied to a document id. A write whose
    number is below its document's stamp is stale and must change nothing.
    """

    async def create(self, tenant: str, collection: str, documents: Sequence[NewDocument]) -> str:
        """Record a job that is not yet published; returns its id."""
        ...

    async def publish(self, job_id: str) -> None:
        """The job's messages are durable in the broker."""
        ...

    async def unpublished(self) -> list[tuple[str, list[tuple[int, str, str, str]]]]:
        """Jobs whose messages may be missing: id and (n, tenant, collection, document id) of what is open."""
        ...

    async def discard(self, job_id: str) -> list[str]:
        """Forget a job that was refused; returns the blobs to remove."""
        ...

    async def get(self, tenant: str, job_id: str) -> Job:
        """The job now; raises NotFound."""
        ...

    def watch(self, tenant: str, job_id: str) -> AsyncIterator[Job]:
        """The job now and after each change, until it has ended; changes close together come as one."""
        ...

    async def cancel(self, tenant: str, job_id: str) -> list[str]:
        """Skip the documents that have not started; returns the blobs to remove. Raises NotFound."""
        ...

    async def begin(self, job_id: str, n: int) -> Work | None:
        """Take a document in hand; None when nothing is left to do with it. A parked one is taken again."""
        ...

    async def expand(self, work: Work, parts: Sequence[Part]) -> list[int]:
        """The file holds many documents: count them in its place; returns the numbers that are still open."""
        ...

    async def finish(self, work: Work, state: State, reason: str = "") -> list[str]:
        """End one document (or part), stamp it if it is stored; returns the blobs to remove.

        Called again for a document that has ended, it changes nothing but the reason.
        """
        ...

    async def park(self, job_id: str, n: int, reason: str) -> None:
        """What is open of this document failed after all attempts; its message is a dead letter."""
        ...

    async def cancelled(self, job_id: str) -> bool:
        """Whether the job was cancelled."""
        ...

    async def leftover(self, work: Work) -> list[str]:
        """Document ids that the file held before and does not hold now."""
        ...

    async def current(self, tenant: str, collection: str, document_ids: Sequence[str], seq: int) -> bool:
        """Whether no write or delete after ``seq`` was applied to any of these ids."""
        ...

    async def next_seq(self) -> int:
        """The next number of the sequence of writes, for a delete."""
        ...

    async def open_write(self, tenant: str, collection: str, document_id: str) -> bool:
        """Whether an acknowledged write of this id is still queued or running."""
        ...

    async def members(self, tenant: str, collection: str, document_id: str) -> list[str]:
        """The ids of the documents that came out of this file; empty for any other document."""
        ...

    async def tombstone(
        self, tenant: str, collection: str, document_id: str, seq: int
    ) -> tuple[list[str], list[str]]:
        """Make every write before ``seq`` stale for this id; returns the blobs to remove and the file's members.

        No member can be added after this that a write before ``seq`` would still store.
        """
        ...

    async def garbage(self) -> list[str]:
        """Blobs that nothing needs any more and that may still lie in the store."""
        ...

    async def forget_blobs(self, uris: Sequence[str]) -> None:
        """These blobs are gone."""
        ...

    async def known_blobs(self, uris: Sequence[str]) -> set[str]:
        """Which of these some document or open write still needs."""
        ...

    async def prune(self, before: float) -> None:
        """Forget jobs that finished before this time, and stamps that no write left could be older than."""
        ...

    async def close(self) -> None:
        """Let go of the file."""
        ...
