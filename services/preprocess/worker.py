"""The message door: takes documents off the queue and hands them to the ingest."""

from __future__ import annotations

import asyncio
import contextlib
import time

import orjson
import structlog

from ragline import context
from ragline.broker import Broker, Consumer, Message, Poison
from ragline.errors import Internal, RaglineError
from services.preprocess.ingest import Ingest, remove_blobs
from services.preprocess.intake import QUEUE, Intake

HOUSEKEEPING_S = 3600.0
MAX_LETTERS = 10_000

log = structlog.get_logger(__name__)


class Worker:
    """Consumes the queue, ``concurrency`` documents at a time, each at most ``max_attempts`` times.

    It also keeps house: jobs are forgotten ``job_ttl_s`` after their end, bytes that no document or open
    write names are removed once they are ``orphan_age_s`` old.
    """

    def __init__(
        self,
        broker: Broker,
        ingest: Ingest,
        intake: Intake,
        *,
        concurrency: int,
        max_attempts: int,
        job_ttl_s: float,
        orphan_age_s: float,
    ) -> None:
        self.broker = broker
        self.ingest = ingest
        self.intake = intake
        self.concurrency = concurrency
        self.max_attempts = max_attempts
        self.job_ttl_s = job_ttl_s
        self.orphan_age_s = orphan_age_s
        self.consumer: Consumer | None = None
        self.housekeeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make good what a crash left, then consume until ``stop``."""
        await self.intake.resume()
        await self.keep_house()
        self.consumer = await self.broker.consume(QUEUE, self.handle, concurrency=self.concurrency)
        self.housekeeping = asyncio.create_task(self._keep_house_for_ever())

    async def stop(self) -> None:
        """Take nothing more and let what is in hand finish; what does not goes back to the queue."""
        if self.housekeeping:
            self.housekeeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.housekeeping
        if self.consumer:
            await self.consumer.stop()

    async def handle(self, message: Message) -> None:
        """Ingest one document. Raises to be called again, Poison when the attempts are used up."""
        body = orjson.loads(message.body)
        with context.bind(body.get("request_id") or None):
            try:
                await self.ingest.run(body["job_id"], body["n"])
            except Exception as error:  # outermost boundary: decides between another attempt and a dead letter
                log.warning(
                    "attempt failed", attempt=message.attempt, exc_info=not isinstance(error, RaglineError)
                )
                if message.attempt < self.max_attempts:
                    raise
                reason = sentence(error)
                await self.ingest.park(body["job_id"], body["n"], reason)
                raise Poison(reason) from error

    async def keep_house(self) -> None:
        """Note dead letters in their jobs, forget old jobs, remove bytes that nothing needs."""
        parts = self.ingest.parts
        for letter in await self.broker.dead_letters(QUEUE, MAX_LETTERS):
            body = orjson.loads(letter.body)
            await self.ingest.park(body["job_id"], body["n"], letter.reason)
        await parts.jobs.prune(time.time() - self.job_ttl_s)
        await remove_blobs(parts.jobs, parts.blobs, await parts.jobs.garbage())
        lying = await parts.blobs.uris(self.orphan_age_s)
        known = await parts.jobs.known_blobs(lying)
        for uri in lying:
            if uri not in known:
                await parts.blobs.remove(uri)

    async def _keep_house_for_ever(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                await self.keep_house()
            except Exception:  # outermost boundary of a background task: the next round tries again
                log.exception("housekeeping failed")


def sentence(error: Exception) -> str:
    """Why a document was given up, for the job; what is unforeseen is named by its kind only."""
    if isinstance(error, RaglineError) and not isinstance(error, Internal):
        return error.detail
    return f"Something went wrong here ({type(error).__name__}); the log has the request id."
