"""Takes documents in: bytes to the blob store, a job, messages for the worker; durable when it returns."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO

import orjson

from ragline import context
from ragline.broker import Broker, NewMessage
from ragline.errors import TooLarge, Unavailable
from services.preprocess.blobs import Blobs
from services.preprocess.ingest import remove_blobs
from services.preprocess.jobs import JobStore, NewDocument

QUEUE = "ingest"
UPLOADS_AT_ONCE = 8


@dataclass(frozen=True)
class Upload:
    """One document at the door; ``source`` is read once. ``reason`` refuses it without failing the others."""

    document: NewDocument
    source: IO[bytes] | None = None


class Intake:
    """The use case behind ``POST /documents``."""

    def __init__(self, jobs: JobStore, blobs: Blobs, broker: Broker, *, max_document_mb: int) -> None:
        self.jobs = jobs
        self.blobs = blobs
        self.broker = broker
        self.max_document_bytes = max_document_mb << 20

    async def accept(self, tenant: str, collection: str, uploads: Sequence[Upload]) -> str:
        """Take documents in as one job; returns its id once all of it would survive a crash.

        Raises Overloaded when the queue is full and Unavailable when the disk is; nothing is kept then. A
        document over the size limit becomes an error of the job, the others go in.
        """
        limit = asyncio.Semaphore(UPLOADS_AT_ONCE)
        results = await asyncio.gather(*(self._stored(u, limit) for u in uploads), return_exceptions=True)
        documents = [result for result in results if isinstance(result, NewDocument)]
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await self._remove(documents)
            raise failures[0]
        # A client that leaves now must not leave half a job: it is in or out, whoever is still listening.
        return await asyncio.shield(self._commit(tenant, collection, documents))

    async def resume(self) -> None:
        """Publish again what a crash kept from being published; the worker passes over what it has done."""
        for job_id, documents in await self.jobs.unpublished():
            await self.broker.publish(QUEUE, [message(job_id, *document) for document in documents])
            await self.jobs.publish(job_id)

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

    async def _commit(self, tenant: str, collection: str, documents: Sequence[NewDocument]) -> str:
        try:
            job_id = await self.jobs.create(tenant, collection, documents)
        except BaseException:
            await self._remove(documents)
            raise
        messages = [
            message(job_id, n, tenant, collection, document.id)
            for n, document in enumerate(documents)
            if not document.reason
        ]
        try:
            if messages:
                await self.broker.publish(QUEUE, messages)
        except BaseException:
            await remove_blobs(self.jobs, self.blobs, await self.jobs.discard(job_id))
            raise
        await self.jobs.publish(job_id)
        return job_id

    async def _remove(self, documents: Sequence[NewDocument]) -> None:
        for document in documents:
            if document.uri:
                await self.blobs.remove(document.uri)


def message(job_id: str, n: int, tenant: str, collection: str, document_id: str) -> NewMessage:
    """The message for one document of a job; writes of one document keep their order."""
    body = {"job_id": job_id, "n": n, "request_id": context.request_id()}
    return NewMessage(orjson.dumps(body), key=f"{tenant}/{collection}/{document_id}")
