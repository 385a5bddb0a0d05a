"""Makes one document that was sent searchable: read, cut, embed, store, note how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import structlog
from cachetools import LRUCache

from ragline.broker import Unfinished
from ragline.errors import Cancelled, InvalidRequest, Mismatch, Overloaded, RaglineError
from ragline.spans import embedded_text
from ragline.v1 import retriever_pb2 as pb
from services.preprocess import figures
from services.preprocess.blobs import Blobs
from services.preprocess.cut import CutDocument, Rejected
from services.preprocess.embed import Embedding
from services.preprocess.hold import Hold
from services.preprocess.job_stores import JobStore
from services.preprocess.jobs import State, Work
from services.preprocess.loaded import Loaded
from services.preprocess.pieces import holds_many, part_document, part_id, without_faults
from services.preprocess.record import Record
from services.preprocess.sandbox import Sandbox
from services.preprocess.upsert import request_of
from services.preprocess.vectors import Passages

MAX_TURNS = 4  # embedders that a collection may ask for, one after the other, while a document is written
MAX_COLLECTIONS = 10_000  # of which it is remembered what they asked for

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """What the write path works with. ``pipeline`` is the hash of how documents are cut and embedded."""

    jobs: JobStore
    blobs: Blobs
    record: Record
    sandbox: Sandbox
    loaded: Loaded
    pipeline: str

    @property
    def embedding(self) -> Embedding:
        """The first embedder."""
        return self.loaded.first


@dataclass(frozen=True)
class File:
    """A file of many in hand: its documents in order, with their ids."""

    work: Work
    pieces: Sequence[CutDocument | Rejected]
    ids: Sequence[str]

    def part(self, number: int) -> Work:
        """A document of it; ``number`` counts from 1."""
        document = part_document(self.work.document, self.pieces[number - 1], self.ids[number - 1])
        return replace(self.work, part=number, document=document)


class Ingest:
    """The use case behind the worker.

    Each step may come twice, late, or in two workers at once: the record refuses what a later write or delete
    has overtaken, and the first end of a document counts. ``token_vectors`` keeps each passage's token vectors
    for the reranker; ``batch_passages`` bounds one call of the embedder, ``concurrency`` the documents of one
    file that are in hand at a time.
    """

    def __init__(
        self, parts: Parts, *, token_vectors: bool, batch_passages: int = 64, concurrency: int = 4
    ) -> None:
        self.parts = parts
        self.passages = Passages(token_vectors, batch_passages)
        self.concurrency = concurrency
        self.wanted: LRUCache[tuple[str, str], Embedding] = LRUCache(MAX_COLLECTIONS)

    async def run(self, work: Work, hold: Hold) -> None:
        """Ingest a document of a job; what is wrong with the document is noted in the job.

        Raises Unfinished when ``hold`` is over and a part of the work is kept, Mismatch where the collection wants
        an embedder that is not loaded, and else only what may be gone at the next try: Unavailable, Overloaded,
        TimedOut, Internal, and anything unforeseen.
        """
        if await self.parts.jobs.begin(work) is not State.RUNNING:
            await self._let_go(work)  # a worker may have died between the note and this
            return
        try:
            await self._ingest(work, hold)
        except RaglineError as error:
            if not permanent(error):
                raise
            await self._finish(work, State.FAILED, error.detail)

    async def park(self, work: Work, reason: str) -> None:
        """Note that the attempts are used up; the message is a dead letter now and may be replayed."""
        await self.parts.jobs.park(work, reason)
        figures.ended(State.PARKED)

    async def _ingest(self, work: Work, hold: Hold) -> None:
        document = work.document
        if document.reason:  # refused at the door, and the note of that is lost
            raise InvalidRequest(document.reason)
        if await self._applied(work):
            return
        pieces = await self.parts.sandbox.cut(
            await self.parts.blobs.read(document.uri),
            name=document.name,
            media_type=document.media_type or None,
            title=document.title or None,
            kind=None if document.name else "text",
        )
        if holds_many(pieces):
            ids = [part_id(document.id, piece, n + 1) for n, piece in enumerate(pieces)]
            await self._store_many(File(work, without_faults(pieces, ids), ids), hold)
        else:
            await self._store(work, pieces[0], "", hold)

    async def _applied(self, work: Work) -> bool:
        """Whether nothing is left to do: this write or a later one was applied, which is noted."""
        held = await self.parts.record.brief(work.job.tenant, work.job.collection, work.document.id)
        if held is None or held.seq < work.seq:
            return False
        await self._finish(work, State.SUPERSEDED if held.seq > work.seq else State.DONE)
        return True

    async def _store(self, work: Work, piece: CutDocument | Rejected, container: str, hold: Hold) -> None:
        """Embed and upsert one document; the record decides whether it still counts."""
        if isinstance(piece, Rejected):
            raise InvalidRequest(piece.reason)
        request = request_of(work, piece, container=container, pipeline=self.parts.pipeline)
        texts = [embedded_text(piece.title, p.section, p.text) for p in piece.passages]
        answer = await self._write(request, texts, hold)
        if answer.stale:
            await self.parts.loaded.purge(texts)
            await self._finish(work, State.SUPERSEDED)
            return
        await self._clear(answer.orphaned_uris, set(answer.removed_texts) - set(texts))
        await self._note(work, State.DONE if answer.changed else State.UNCHANGED)

    async def _store_many(self, file: File, hold: Hold) -> None:
        """Store the documents that a file holds, each for itself; one that is bad fails alone."""
        work, jobs = file.work, self.parts.jobs
        waiting = iter(numbers := await jobs.expand(work, len(file.ids)))
        tasks = [self._take(file, waiting, hold) for _ in range(min(self.concurrency, len(numbers)))]
        raised = [each for each in await asyncio.gather(*tasks, return_exceptions=True) if each is not None]
        for failure in sorted(raised, key=lambda each: isinstance(each, Unfinished)):
            raise failure
        if await jobs.cancelled(work.job.id):
            await self._finish(work, State.CANCELLED)
            return
        job, name = work.job, work.document.id
        settled = await self.parts.record.settle(
            pb.SettleRequest(
                tenant=job.tenant, collection=job.collection, container=name, seq=work.seq, document_ids=file.ids
            )
        )
        await self._clear(settled.orphaned_uris, settled.removed_texts)
        await self._finish(work, State.SUPERSEDED if settled.stale else State.DONE)

    async def _take(self, file: File, waiting: Iterator[int], hold: Hold) -> None:
        """Store parts off the common list until it is empty, the job is cancelled or the time is over."""
        for number in waiting:
            if await self.parts.jobs.cancelled(file.work.job.id):
                return
            hold.give_back()
            part, piece = file.part(number), file.pieces[number - 1]
            try:
                if isinstance(piece, Rejected) or not await self._applied(part):
                    await self._store(part, piece, file.work.document.id, hold)
            except RaglineError as error:
                if not permanent(error):
                    raise
                await self._finish(part, State.FAILED, error.detail)
            hold.gained = True

    async def _write(self, request: pb.UpsertRequest, texts: Sequence[str], hold: Hold) -> pb.UpsertResponse:
        """Embed and upsert, by the embedder that the collection wants; which may change at any moment."""
        loaded, where = self.parts.loaded, (request.tenant, request.collection)
        embedding = self.wanted.get(where, loaded.first)
        for _ in range(MAX_TURNS):
            made = await self.passages(embedding, texts, hold)
            request.vectors, request.dimensions, request.fingerprint = (
                made.vectors,
                made.dimensions,
                made.fingerprint,
            )
            request.token_ids[:] = made.token_ids
            try:
                return await self.parts.record.upsert(request)
            except Mismatch as refusal:
                if not refusal.wanted:
                    raise
                embedding = self.wanted[where] = loaded.of(refusal.wanted) or not_loaded(refusal, where)
        raise Overloaded(f"The collection {where[1]!r} changed its embedder {MAX_TURNS} times meanwhile.")

    async def _clear(self, uris: Sequence[str], texts: Sequence[str] | set[str]) -> None:
        """Remove what was kept of passages that are gone: bytes and cached vectors."""
        for uri in uris:
            await self.parts.blobs.remove(uri)
        if texts:
            await self.parts.loaded.purge(list(texts))

    async def _finish(self, work: Work, state: State, reason: str = "") -> None:
        """Note how a document ended, then remove its bytes unless the record has a document of them."""
        await self._note(work, state, reason)
        await self._let_go(work)

    async def _note(self, work: Work, state: State, reason: str = "") -> None:
        await self.parts.jobs.finish(work, state, reason)
        figures.ended(state)
        log.info("ended", job=work.job.id, document=work.document.id, state=state, reason=reason)

    async def _let_go(self, work: Work) -> None:
        uri = work.document.uri
        if uri and not await self.parts.record.known_uris([uri]):
            await self.parts.blobs.remove(uri)


def not_loaded(refusal: Mismatch, where: tuple[str, str]) -> Embedding:
    """Raises Mismatch: nothing here can embed for the collection, and these are the ways out."""
    raise Mismatch(
        f"The collection {where[1]!r} is searched by the embedder {refusal.wanted!r}, which is not loaded here. "
        "Start preprocess with it again, as PREPROCESS_EMBEDDER or as PREPROCESS_NEXT_EMBEDDER beside it; or "
        "embed the collection anew with `ragline reembed`. Then `ragline queue replay` takes the document in.",
        wanted=refusal.wanted,
    ) from refusal


def permanent(error: RaglineError) -> bool:
    """Whether trying again would fail the same way, and for want of nothing but another document."""
    return error.http_status < 500 and not isinstance(error, Overloaded | Cancelled | Mismatch)
