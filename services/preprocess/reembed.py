"""Embeds a collection again, by another embedder, while it is searched and written to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from cachetools import LRUCache

from ragline.broker import Unfinished
from ragline.errors import Conflict, Mismatch, NotFound, RaglineError
from ragline.spans import embedded_text
from ragline.v1 import retriever_pb2 as pb
from services.preprocess import figures
from services.preprocess.embed import Embedding
from services.preprocess.hold import Hold
from services.preprocess.ingest import Parts, permanent
from services.preprocess.jobs import State, Work
from services.preprocess.vectors import Passages

FEW = 16  # documents missing at the end of a round that were not there when it began, for the most part
MAX_SHORT_ROUNDS = 1000  # of so few
MAX_NOTED = 1000

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Task:
    """A collection in hand: the job, what embeds it now, and the fingerprint of what did before."""

    work: Work
    embedding: Embedding
    before: str


class Reembedding:
    """The use case behind the worker for a job of ``POST /collections/{name}/reembed``.

    The retriever names what lacks vectors of the new embedder, until nothing does and it turns the collection to
    them: so each step may come twice, in two workers at once, or not at all before a crash, and what is written
    meanwhile is only one more document. ``concurrency`` documents are in hand at a time.
    """

    def __init__(self, parts: Parts, *, token_vectors: bool, concurrency: int = 4) -> None:
        self.parts = parts
        self.passages = Passages(token_vectors)
        self.concurrency = concurrency
        self.short_rounds: LRUCache[str, int] = LRUCache(MAX_NOTED)

    async def run(self, work: Work, hold: Hold) -> None:
        """Embed the collection; what stands in the way of that is noted in the job.

        Raises Unfinished when ``hold`` is over, Mismatch where the new embedder is not loaded here, and else only
        what may be gone at the next try.
        """
        begun = await self.parts.jobs.begin(work)
        if begun is State.CANCELLED:  # perhaps between two slices
            await self._forget(work)
        if begun is not State.RUNNING:
            return
        embedding = self.parts.loaded.of(work.target)
        if embedding is None:
            raise Mismatch(
                f"The embedder {work.target!r} is not loaded in this worker. Start the workers with it as "
                "PREPROCESS_NEXT_EMBEDDER, as the doors were, then `ragline queue replay` goes on with the job."
            )
        try:
            await self._rounds(Task(work, embedding, (await self._state(work)).fingerprint), hold)
        except RaglineError as error:
            if not permanent(error):
                raise
            await self._finish(work, State.FAILED, error.detail)

    async def _rounds(self, task: Task, hold: Hold) -> None:
        work, job, record = task.work, task.work.job, self.parts.record
        while True:
            if await self.parts.jobs.cancelled(job.id):
                await self._forget(work)
                return await self._finish(work, State.CANCELLED)
            answer = await record.switch(job.tenant, job.collection, work.target)
            if answer.switched:
                log.info("switched", collection=job.collection, embedder=work.target, generation=answer.generation)
                return await self._finish(work, State.DONE)
            self._count(work, len(answer.missing))
            await self._stage_all(task, answer.missing, hold)

    async def _forget(self, work: Work) -> None:
        """Take away what was staged."""
        for state in await self.parts.record.describe(work.job.tenant, work.job.collection):
            await self.parts.record.switch(state.tenant, state.collection, state.fingerprint)

    async def _state(self, work: Work) -> pb.CollectionState:
        """The collection's; raises NotFound."""
        found = await self.parts.record.describe(work.job.tenant, work.job.collection)
        if not found:
            raise NotFound(f"There is no collection {work.job.collection!r}.")
        return found[0]

    def _count(self, work: Work, missing: int) -> None:
        """Raise Conflict where rounds of few documents do not come to an end."""
        if missing > FEW:
            return
        rounds = self.short_rounds[work.job.id] = self.short_rounds.get(work.job.id, 0) + 1
        if rounds > MAX_SHORT_ROUNDS:
            del self.short_rounds[work.job.id]
            raise Conflict(
                f"Documents of {work.job.collection!r} are written faster than they can be embedded again; pause "
                "that and run `ragline reembed` once more, which goes on with what is done."
            )

    async def _stage_all(self, task: Task, names: Sequence[str], hold: Hold) -> None:
        """Stage the documents, some at a time; what needs more than time is raised first."""
        waiting = iter(names)
        tasks = [self._take(task, waiting, hold) for _ in range(self.concurrency)]
        raised = [each for each in await asyncio.gather(*tasks, return_exceptions=True) if each is not None]
        for failure in sorted(raised, key=lambda each: isinstance(each, Unfinished)):
            raise failure

    async def _take(self, task: Task, waiting: Iterator[str], hold: Hold) -> None:
        """Stage documents off the common list until it is empty, the job is cancelled or the time is over."""
        for name in waiting:
            if await self.parts.jobs.cancelled(task.work.job.id):
                return
            hold.give_back()
            hold.gained |= await self._stage(task, name, hold)

    async def _stage(self, task: Task, name: str, hold: Hold) -> bool:
        """Embed one document as it is now; False where it is gone or another by the time that is done.

        What the embedder before made of its passages leaves the cache, where nothing would purge it later.
        """
        job, record = task.work.job, self.parts.record
        try:
            found = await record.get(job.tenant, job.collection, name)
        except NotFound:
            return False
        texts = [embedded_text(found.document.title, each.section, each.text) for each in found.passages]
        made = await self.passages(task.embedding, texts, hold)
        request = pb.StageRequest(
            tenant=job.tenant,
            collection=job.collection,
            document_id=name,
            seq=found.seq,
            fingerprint=made.fingerprint,
            dimensions=made.dimensions,
            vectors=made.vectors,
            token_ids=made.token_ids,
        )
        if (await record.stage(request)).stale:
            return False
        await task.embedding.purge_of(task.before, texts)
        return True

    async def _finish(self, work: Work, state: State, reason: str = "") -> None:
        self.short_rounds.pop(work.job.id, None)
        await self.parts.jobs.finish(work, state, reason)
        figures.ended(state)
        log.info("ended", job=work.job.id, collection=work.job.collection, state=state, reason=reason)
