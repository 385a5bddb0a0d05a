"""Takes documents in: bytes to the blob store, messages for the worker, a job to look at; durable on return."""

from __future__ import annotations

import asyncio
import errno
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO

import structlog

from ragline import context
from ragline.broker import Broker
from ragline.errors import Overloaded, TooLarge, Unavailable
from services.preprocess import figures
from services.preprocess.blobs import Blobs
from services.preprocess.job_stores import JobStore
from services.preprocess.jobs import Head, NewDocument, Work
from services.preprocess.messages import QUEUE, packed
from services.preprocess.record import Record

UPLOADS_AT_ONCE = 8
JOBS = "jobs"
"""What ``degraded`` names while progress cannot be noted."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Upload:
    """One document at the door; ``source`` is read once. ``reason`` refuses it without failing the others."""

    document: NewDocument
    source: IO[bytes] | None = None


@dataclass(frozen=True)
class Accepted:
    """A job that will be done; ``degraded`` names what could not be had."""

    job_id: str
    degraded: tuple[str, ...] = ()


class Intake:
    """The use case behind ``POST /documents``."""

    def __init__(
        self, record: Record, jobs: JobStore, blobs: Blobs, broker: Broker, *, max_document_mb: int
    ) -> None:
        self.record = record
        self.jobs = jobs
        self.blobs = blobs
        self.broker = broker
        self.max_document_bytes = max_document_mb << 20

    async def accept(self, tenant: str, collection: str, uploads: Sequence[Upload]) -> Accepted:
        """Take documents in as one job; returns once all of them would survive a crash.

        Raises Overloaded when the queue is full, and Unavailable when the disk is or the queue is away; none of it
        is acknowledged then. A document over the size limit becomes an error of the job,
        the others go in.
        """
        first = await self.record.number(len(uploads))
        limit = asyncio.Semaphore(UPLOADS_AT_ONCE)
        results = await asyncio.gather(*(self._stored(u, limit) for u in uploads), return_exceptions=True)
        documents = [result for result in results if isinstance(result, NewDocument)]
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await self._remove(documents)
            raise failures[0]
        head = Head(f"job-{uuid.uuid4().hex}", tenant, collection, len(documents), time.time())
        # A client that leaves now must not leave half a job: it is in or out, whoever is still listening.
        return await asyncio.shield(self._commit(head, documents, first))

    async def check(self) -> None:
        """Raise where the queue cannot be asked."""
        await self.broker.depth(QUEUE)

    async def _stored(self, upload: Upload, limit: asyncio.Semaphore) -> NewDocument:
        document = upload.document
        if upload.source is None or document.reason:
            return document
        async with limit:
            try:
                blob = await self.blobs.put(upload.source, self.max_document_bytes)
            except TooLarge as error:
                return replace(document, reason=error.detail)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise Unavailable("The disk for documents is full; make room on it.", retry_after_s=60) from error
        return replace(document, uri=blob.uri, sha256=blob.sha256)

    async def _commit(self, head: Head, documents: Sequence[NewDocument], first: int) -> Accepted:
        """Publish, then write the job down: a worker that is quicker, or a crash, finds all in the messages."""
        works = [Work(head, n, first + n, document) for n, document in enumerate(documents)]
        try:
            await self.broker.publish(QUEUE, [packed(work, context.request_id()) for work in works])
        except (Overloaded, TooLarge):
            await self._remove(documents)
            raise
        figures.accepted(len(documents))
        # After any other failure some messages may be in the queue; the bytes of the others are swept up later.
        try:
            await self.jobs.create(head, documents)
        except Unavailable as error:
            log.warning("progress cannot be noted", job=head.id, reason=error.detail)
            return Accepted(head.id, (JOBS,))
        return Accepted(head.id)

    async def _remove(self, documents: Sequence[NewDocument]) -> None:
        for document in documents:
            if document.uri:
                await self.blobs.remove(document.uri)
