"""The message door: takes documents off the queue for the ingest, and collections that are embedded again."""

from __future__ import annotations

import asyncio
import contextlib
import random

import structlog
from cachetools import LRUCache

from ragline import context
from ragline.broker import Broker, Consumer, Message, Poison, Unfinished
from ragline.errors import Internal, Mismatch, Overloaded, RaglineError, TimedOut, Unavailable
from services.preprocess.hold import Hold
from services.preprocess.housekeeping import Housekeeping
from services.preprocess.ingest import Ingest
from services.preprocess.jobs import Work
from services.preprocess.messages import QUEUE, unpacked
from services.preprocess.record import Interrupted
from services.preprocess.reembed import Reembedding

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0
MAX_INTERRUPTIONS = 10
MAX_NOTED = 10_000
WAIT_S = 60.0  # in one go, for what is away: other messages of the same document wait behind this one

log = structlog.get_logger(__name__)


class Worker:
    """Consumes the queue, ``concurrency`` documents at a time, each at most ``max_attempts`` times.

    What is away (the retriever, the job store) is waited for and counts as no attempt, unless the retriever
    goes away again and again while it stores this very document. A message is in hand for ``hold_s`` seconds at
    most, then it goes back and the work goes on where it was left.
    """

    def __init__(
        self,
        broker: Broker,
        ingest: Ingest,
        reembedding: Reembedding,
        housekeeping: Housekeeping,
        *,
        concurrency: int,
        max_attempts: int,
        hold_s: float,
    ) -> None:
        self.broker = broker
        self.ingest = ingest
        self.reembedding = reembedding
        self.housekeeping = housekeeping
        self.concurrency = concurrency
        self.max_attempts = max_attempts
        self.hold_s = hold_s
        self.consumer: Consumer | None = None
        self.chores: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.interruptions: LRUCache[tuple[str, int], int] = LRUCache(MAX_NOTED)

    async def start(self) -> None:
        """Consume and keep house until ``stop``."""
        self.stopping.clear()
        self.consumer = await self.broker.consume(QUEUE, self.handle, concurrency=self.concurrency)
        self.chores = asyncio.create_task(self.housekeeping.run())

    async def stop(self) -> None:
        """Take nothing more and let what is in hand finish; what does not goes back to the queue."""
        self.stopping.set()
        if self.chores:
            self.chores.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.chores
        if self.consumer:
            await self.consumer.stop()

    async def check(self) -> None:
        """Raise Unavailable unless messages are taken."""
        if self.consumer is None or self.stopping.is_set():
            raise Unavailable("The worker takes no messages; it is starting or stopping.")
        await self.broker.depth(QUEUE)

    async def handle(self, message: Message) -> None:
        """Ingest one document, or embed one collection again.

        Raises to be called again, Unfinished where that is no fault of the document, and Poison when the
        attempts are used up, or of no use before somebody starts preprocess with another embedder.
        """
        work, request_id = unpacked(message.body)
        hold = Hold(self.hold_s)
        with context.bind(request_id or None):
            try:
                await self._ingest(work, hold)
            except Unfinished:
                raise
            except Exception as error:  # outermost boundary: decides between another attempt and a dead letter
                log.warning(
                    "attempt failed", attempt=message.attempt, exc_info=not isinstance(error, RaglineError)
                )
                if message.attempt < self.max_attempts and not isinstance(error, Mismatch):
                    raise
                reason = sentence(error)
                await self._park(work, reason)
                raise Poison(reason) from error

    async def _ingest(self, work: Work, hold: Hold) -> None:
        """Ingest, as often as it takes for what it needs to be there."""
        pause_s, patience = FIRST_PAUSE_S, None
        while True:
            try:
                return await (self.reembedding if work.target else self.ingest).run(work, hold)
            except (Unavailable, Overloaded, TimedOut) as error:
                patience = patience or Hold(WAIT_S)
                if await self._is_failure(error, work, patience):
                    raise
                log.warning("ingest waits", document=work.document.id, reason=error.detail)
                asked_s = error.retry_after_s or 0.0
            await patience.pause(max(asked_s, jittered(pause_s)), self.stopping)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _is_failure(self, error: RaglineError, work: Work, patience: Hold) -> bool:
        """Whether what looks like something being away is this document's own failure."""
        match error:
            case TimedOut():  # too slow for this document, if it answers others
                return await self._record_answers()
            case Overloaded():  # passes, unless it is a limit of another kind
                return patience.left_s <= WAIT_S / 2
            case Interrupted():
                name = (work.job.id, work.n)
                self.interruptions[name] = self.interruptions.get(name, 0) + 1
                return self.interruptions[name] > MAX_INTERRUPTIONS
            case _:
                return False

    async def _park(self, work: Work, reason: str) -> None:
        """Note that the attempts are used up; a job store that is away is waited for."""
        patience = Hold(WAIT_S)
        while True:
            try:
                return await self.ingest.park(work, reason)
            except Unavailable as error:
                log.warning("worker waits", reason=error.detail)
            await patience.pause(jittered(1.0), self.stopping)

    async def _record_answers(self) -> bool:
        try:
            await self.ingest.parts.record.check()
        except (Unavailable, TimedOut):
            return False
        return True


def jittered(seconds: float) -> float:
    """Give or take a fifth, so that workers do not come all at once."""
    return seconds * random.SystemRandom().uniform(0.8, 1.2)


def sentence(error: Exception) -> str:
    """Why a document was given up, for the job; what is unforeseen is named by its kind only."""
    if isinstance(error, RaglineError) and not isinstance(error, Internal):
        return error.detail
    return f"Something went wrong here ({type(error).__name__}); the log has the request id."
