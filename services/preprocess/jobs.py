"""What became of each document that was sent: jobs, their documents, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_ERRORS = 1000


class State(StrEnum):
    """Where one document stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    UNCHANGED = "unchanged"  # the collection held exactly this already
    SUPERSEDED = "superseded"  # a delete or a newer write was applied before this one
    FAILED = "failed"
    PARKED = "parked"  # failed after all attempts; its message is a dead letter and may be replayed
    CANCELLED = "cancelled"
    ASSUMED = "assumed"  # its message has left the queue, but the note of how it ended is lost


OPEN = (State.QUEUED, State.RUNNING)
BROKEN = (State.FAILED, State.PARKED)
RETURNING = (State.PARKED, State.ASSUMED)
"""Ended, but taken in hand again should the message come after all."""


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
class Head:
    """What a job is; ``total`` documents were sent, at ``created_at`` in seconds since the epoch.

    Every message carries it, so that a job whose record is lost can be written down again.
    """

    id: str
    tenant: str
    collection: str
    total: int
    created_at: float


@dataclass(frozen=True)
class Work:
    """One document of a job: its number from 0, and ``seq``, its place among all writes and deletes.

    With a ``target``, the fingerprint of an embedder, it is no document but the collection that is to be embedded
    by it; the document's id is empty then, which no document's is.
    """

    job: Head
    n: int
    seq: int
    document: NewDocument
    part: int = 0  # from 1 for the documents that a file of many holds, or those that are embedded again
    target: str = ""


@dataclass(frozen=True)
class JobError:
    """Why a document did not go in."""

    document_id: str
    reason: str


@dataclass(frozen=True)
class Job:
    """A job's progress. A file that turned out to hold many documents is counted by these.

    ``restored``: the record was lost and begun anew from a message. Times are seconds since the epoch.
    """

    head: Head
    finished_at: float | None = None
    cancelled: bool = False
    restored: bool = False
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
            return "running" if self.total > self.count(State.QUEUED) else "queued"
        if self.cancelled:
            return "cancelled"
        return "failed" if self.count(*BROKEN) == self.total else "done"

    def count(self, *states: State) -> int:
        """How many documents are in one of ``states``."""
        return sum(self.counts.get(state, 0) for state in states)

    def view(self) -> dict[str, Any]:
        """The job as clients see it; ``errors`` holds the first 1000.

        ``restored`` and ``unreported`` are there only where part of the record was lost: of so many documents
        counted as done nobody knows how they ended.
        """
        unreported = self.count(State.ASSUMED)
        lost = {"restored": True, "unreported": unreported} if self.restored or unreported else {}
        return {
            "id": self.head.id,
            "state": self.state,
            "done": self.total - self.count(*OPEN, State.CANCELLED),
            "total": self.total,
            "errors": [{"document_id": e.document_id, "reason": e.reason} for e in self.errors],
            "collection": self.head.collection,
            "failed": self.count(*BROKEN),
            "unchanged": self.count(State.UNCHANGED),
            "created_at": self.head.created_at,
            "finished_at": self.finished_at,
            **lost,
        }
