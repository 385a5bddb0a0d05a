"""Makes one document that was sent searchable: read, compare, cut, embed, store, mark as done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import numpy as np
import structlog

from ragline.errors import Cancelled, InvalidRequest, Overloaded, RaglineError
from ragline.spans import embedded_text
from ragline.v1 import passage_pb2
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.blobs import Blobs
from services.preprocess.cut import CutDocument, Piece, Rejected
from services.preprocess.embed import Embedding
from services.preprocess.jobs import JobStore, Part, State, Work
from services.preprocess.locks import Locks
from services.preprocess.pieces import holds_many, metadata_json, part_document, part_id, without_faults
from services.preprocess.pipeline import content_hash
from services.preprocess.record import Record
from services.preprocess.sandbox import Sandbox

INGEST_LANE = 1

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """What the write path works with. ``pipeline`` is the hash of how documents are cut and embedded."""

    jobs: JobStore
    blobs: Blobs
    record: Record
    sandbox: Sandbox
    embedding: Embedding
    locks: Locks
    pipeline: str


class Ingest:
    """The use case behind the worker.

    Each step may be repeated after a crash: what is stored is compared by content hash, and how a document
    ended is recorded by its number in the job, never counted. ``token_vectors`` keeps each passage's token
    vectors for the reranker; ``batch_passages`` bounds one call of the embedder, ``concurrency`` the
    documents of one file that are in hand at a time.
    """

    def __init__(
        self, parts: Parts, *, token_vectors: bool, batch_passages: int = 64, concurrency: int = 4
    ) -> None:
        self.parts = parts
        self.token_vectors = token_vectors
        self.batch_passages = batch_passages
        self.concurrency = concurrency

    async def run(self, job_id: str, n: int) -> None:
        """Ingest document ``n`` of a job; what is wrong with the document is recorded in the job.

        Raises only what may be gone at the next try: Unavailable, Overloaded, TimedOut, Internal, and
        anything unforeseen.
        """
        work = await self.parts.jobs.begin(job_id, n)
        if work is None:
            return
        try:
            await self._ingest(work)
        except RaglineError as error:
            if not permanent(error):
                raise
            await self._finish(work, State.FAILED, error.detail)

    async def park(self, job_id: str, n: int, reason: str) -> None:
        """Record that the attempts are used up; the message is a dead letter now and may be replayed."""
        await self.parts.jobs.park(job_id, n, reason)

    async def _ingest(self, work: Work) -> None:
        if await self._settled(work, [work.document.id]):
            return
        document = work.document
        pieces = await self.parts.sandbox.cut(
            await self.parts.blobs.read(document.uri),
            name=document.name,
            media_type=document.media_type or None,
            title=document.title or None,
            kind=None if document.name else "text",
        )
        if holds_many(pieces):
            await self._store_many(work, pieces)
            return
        await self._remove_leftover(work, [])
        await self._store(work, pieces[0], [document.id])

    async def _settled(self, work: Work, ids: Sequence[str]) -> bool:
        """Whether nothing is left to do: a later write of one of ``ids`` was applied, or just this is stored."""
        async with self._locked(work):
            if not await self._current(work, ids):
                await self._finish(work, State.SUPERSEDED)
                return True
            held = await self.parts.record.brief(work.tenant, work.collection, work.document.id)
            if held is None or held.content_hash != content_hash(work.document, self.parts.pipeline):
                return False
            # The same address: an earlier try stored it and died before it could say so.
            again = held.uri and held.uri == work.document.uri
            await self._finish(work, State.DONE if again else State.UNCHANGED)
            return True

    async def _store(self, work: Work, piece: CutDocument | Rejected, ids: Sequence[str]) -> None:
        """Embed and upsert one document, unless a later write or delete of one of ``ids`` was applied."""
        if isinstance(piece, Rejected):
            raise InvalidRequest(piece.reason)
        request = self._request(work, piece)
        texts = [embedded_text(piece.title, p.section, p.text) for p in piece.passages]
        await self._embed(request, texts)
        async with self._locked(work):
            current = await self._current(work, ids)
            if current:
                await self.parts.record.upsert(request)
            await self._finish(work, State.DONE if current else State.SUPERSEDED)
        if not current:
            await self.parts.embedding.purge(texts)

    async def _store_many(self, work: Work, pieces: Sequence[CutDocument | Rejected]) -> None:
        """Store the documents that a file holds, each for itself; one that is bad fails alone."""
        ids = [part_id(work.document.id, piece, n + 1) for n, piece in enumerate(pieces)]
        pieces = without_faults(pieces, ids)
        numbers = await self.parts.jobs.expand(work, [Part(n + 1, each) for n, each in enumerate(ids)])
        waiting = iter(numbers)
        tasks = [self._take(work, pieces, ids, waiting) for _ in range(min(self.concurrency, len(numbers)))]
        for failure in await asyncio.gather(*tasks, return_exceptions=True):
            if failure is not None:
                raise failure
        if not await self.parts.jobs.cancelled(work.job_id):
            await self._remove_leftover(work, ids)
        current = await self._current(work, [work.document.id])
        await self._finish(work, State.DONE if current else State.SUPERSEDED)

    async def _take(
        self, work: Work, pieces: Sequence[CutDocument | Rejected], ids: Sequence[str], waiting: Iterator[int]
    ) -> None:
        """Store parts off the common list until it is empty or the job is cancelled."""
        for number in waiting:
            if await self.parts.jobs.cancelled(work.job_id):
                return
            piece = pieces[number - 1]
            part = replace(work, part=number, document=part_document(work.document, piece, ids[number - 1]))
            either = [part.document.id, work.document.id]
            try:
                if isinstance(piece, Rejected) or not await self._settled(part, either):
                    await self._store(part, piece, either)
            except RaglineError as error:
                if not permanent(error):
                    raise
                await self._finish(part, State.FAILED, error.detail)

    async def _embed(self, request: pb.UpsertRequest, texts: Sequence[str]) -> None:
        """Fill in the vectors and word pieces, a bounded number of passages at a time."""
        vectors = []
        for start in range(0, len(texts), self.batch_passages):
            batch = texts[start : start + self.batch_passages]
            embedded = await self.parts.embedding.embed(batch, lane=INGEST_LANE, token_vectors=self.token_vectors)
            vectors.append(np.ascontiguousarray(embedded.vectors, dtype="<f4").tobytes())
            request.token_ids.extend(np.asarray(ids, dtype="<u4").tobytes() for ids in embedded.token_ids)
            request.dimensions = embedded.dimensions
            request.fingerprint = embedded.fingerprint
        request.vectors = b"".join(vectors)

    def _request(self, work: Work, piece: CutDocument) -> pb.UpsertRequest:
        """What the retriever stores, less the vectors."""
        return pb.UpsertRequest(
            tenant=work.tenant,
            collection=work.collection,
            document=pb.Document(
                id=work.document.id,
                title=piece.title,
                source=piece.source,
                metadata_json=metadata_json(work, piece),
                content_hash=content_hash(work.document, self.parts.pipeline),
                media_type=piece.media_type,
                uri=work.document.uri,
            ),
            passages=[
                passage_pb2.Passage(
                    id=f"{work.document.id}#{ordinal}",
                    section=passage.section,
                    text=passage.text,
                    start=passage.start,
                    end=passage.end,
                    page=passage.page,
                    source=source_of(piece, passage),
                    offsets=passage.offsets,
                    page_starts=passage.page_starts,
                )
                for ordinal, passage in enumerate(piece.passages)
            ],
        )

    async def _remove_leftover(self, work: Work, ids: Sequence[str]) -> None:
        """Remove what an earlier version of this file held and this one, holding ``ids``, does not.

        A file of one document has its own id; a file of many has none of its own.
        """
        before = await self.parts.jobs.leftover(work)
        if ids and work.document.id not in ids:
            before.append(work.document.id)
        for document_id in before:
            async with self.parts.locks.hold((work.tenant, work.collection, document_id)):
                if not await self._current(work, [document_id, work.document.id]):
                    continue
                deleted = await self.parts.record.delete(work.tenant, work.collection, document_id)
            if deleted:
                await self.parts.embedding.purge(list(deleted.texts))

    def _locked(self, work: Work) -> AbstractAsyncContextManager[None]:
        """Keeps deletes and other writes of the same document out."""
        return self.parts.locks.hold((work.tenant, work.collection, work.document.id))

    async def _current(self, work: Work, ids: Sequence[str]) -> bool:
        return await self.parts.jobs.current(work.tenant, work.collection, ids, work.seq)

    async def _finish(self, work: Work, state: State, reason: str = "") -> None:
        """End a document, then remove the bytes that nothing needs any more."""
        await remove_blobs(self.parts.jobs, self.parts.blobs, await self.parts.jobs.finish(work, state, reason))
        log.info("ended", job=work.job_id, document=work.document.id, state=state, reason=reason)


async def remove_blobs(jobs: JobStore, blobs: Blobs, uris: Sequence[str]) -> None:
    """Remove bytes, then the note that they may be there; a crash in between is made good at the next start."""
    for uri in uris:
        await blobs.remove(uri)
    if uris:
        await jobs.forget_blobs(uris)


def source_of(document: CutDocument, passage: Piece) -> str:
    """The span that a passage came from, as citations quote it; empty where the passage is just that."""
    source = document.source[passage.start : passage.end]
    return source if source != passage.text else ""


def permanent(error: RaglineError) -> bool:
    """Whether trying again would fail the same way."""
    return error.http_status < 500 and not isinstance(error, Overloaded | Cancelled)
