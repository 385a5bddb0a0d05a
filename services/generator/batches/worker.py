"""The message door: takes chunks off the queue, and keeps house among the batches."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from ragline import context, metrics
from ragline.broker import Broker, Consumer, DeadLetter, Message, Poison, Unfinished
from ragline.errors import NotFound, RaglineError, Unavailable
from services.generator.batches.manifest import ID, QUEUE, QUEUED, REMOVED, created_at, tenant_of
from services.generator.batches.work import Tools, Work

LETTERS_S = 30.0
OLD_S = 3600.0
ABANDONED_S = 3600.0
STORAGE_WAIT_S = 5.0
CONNECT_WAIT_S = 2.0
MAX_LETTERS = 10_000

log = structlog.get_logger(__name__)


class Worker:
    """Consumes the queue, ``concurrency`` chunks at a time, each at most ``max_attempts`` times.

    It also keeps house: what the queue has given up becomes error lines, and batches go when they are old.
    """

    def __init__(self, broker: Broker, tools: Tools, *, concurrency: int, max_attempts: int) -> None:
        self.broker = broker
        self.tools = tools
        self.batches = tools.batches
        self.concurrency = concurrency
        self.max_attempts = max_attempts
        self.consumer: Consumer | None = None
        self.unwatch: Callable[[], None] = lambda: None
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Consume until ``stop``, as soon as the queue can be had; a queue that is away holds nobody up."""
        self.unwatch = metrics.watch_queue(QUEUE, self.broker.depth)
        self.tasks = [asyncio.create_task(self._consume()), asyncio.create_task(self._keep_house_for_ever())]

    async def stop(self) -> None:
        """Begin no more lines, let those in flight finish; what does not goes back to the queue."""
        self.tools.stopping.set()
        self.unwatch()
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        if self.consumer:
            await self.consumer.stop()

    async def check(self) -> None:
        """Raise where the queue cannot be asked."""
        await self.broker.depth(QUEUE)

    async def handle(self, message: Message) -> None:
        """Work on one chunk. Raises to be called again."""
        try:
            told = orjson.loads(message.body)
            tenant, batch_id, chunk = told["tenant"], told["batch"], told["chunk"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise Poison("The message is no chunk of a batch.") from None
        with context.bind(told.get("request_id") or None):
            try:
                await self._work(tenant, batch_id, chunk, last=message.attempt >= self.max_attempts)
            except OSError as error:
                if await self._void(tenant, batch_id):
                    return
                log.warning("storage of batches fails", batch=batch_id, chunk=chunk, error=str(error))
                await self.tools.rest(STORAGE_WAIT_S)
                raise Unfinished("the storage of batches fails") from error

    async def _work(self, tenant: str, batch_id: str, chunk: int, *, last: bool) -> None:
        try:
            batch = await asyncio.to_thread(self.batches.load, tenant, batch_id)
        except NotFound:
            if await self._void(tenant, batch_id):
                return
            raise Unavailable(
                f"{batch_id} is not here; have the door and the workers the same GENERATOR_BATCH_URL?"
            ) from None
        await Work(self.tools, batch, chunk, last=last).run()

    async def _void(self, tenant: str, batch_id: str) -> bool:
        """Whether a batch was removed; False where the storage cannot say."""
        with contextlib.suppress(OSError):
            return await asyncio.to_thread(self.batches.is_removed, tenant, batch_id)
        return False

    async def _consume(self) -> None:
        while self.consumer is None:
            try:
                self.consumer = await self.broker.consume(QUEUE, self.handle, concurrency=self.concurrency)
            except (RaglineError, OSError) as error:
                log.warning("the queue of batches cannot be reached", error=str(error))
                await asyncio.sleep(CONNECT_WAIT_S)

    async def _keep_house_for_ever(self) -> None:
        looked_at = -OLD_S
        while True:
            try:
                if time.monotonic() - looked_at > OLD_S:
                    looked_at = time.monotonic()
                    await asyncio.to_thread(self.tidy, time.time())
                await self.bury()
            except (RaglineError, OSError) as error:
                log.warning("housekeeping has to wait", error=str(error))
            except Exception:  # outermost boundary of a background task: the next round tries again
                log.exception("housekeeping failed")
            await asyncio.sleep(LETTERS_S)

    async def bury(self) -> None:
        """Make error lines of the chunks that the queue has given up, so that their batches end."""
        for letter in await self.broker.dead_letters(QUEUE, MAX_LETTERS):
            try:
                if await asyncio.to_thread(self._buried, letter):
                    await self.broker.purge(QUEUE, [letter.id])
            except OSError as error:  # the storage fails: it stays where it is
                log.warning("storage of batches fails", error=str(error))

    def _buried(self, letter: DeadLetter) -> bool:
        """Whether nothing is left to do for a dead letter. Blocks."""
        try:
            told: dict[str, Any] = orjson.loads(letter.body)
            tenant, batch_id, chunk = told["tenant"], told["batch"], told["chunk"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return False  # whoever sent that will want to look at it
        try:
            batch = self.batches.load(tenant, batch_id)
        except NotFound:
            return self.batches.is_removed(tenant, batch_id) or self._expired(batch_id, time.time())
        log.error("a chunk was given up", batch=batch_id, chunk=chunk, reason=letter.reason)
        error = Unavailable(f"This line was given up: {letter.reason}")
        try:
            Work(self.tools, batch, chunk, last=True).give_up(error)
        except FileNotFoundError:  # the input is gone, and with it the lines that a result could be of
            self.batches.end(batch, "failed", *self.batches.results.progress(batch))
        return True

    def tidy(self, now: float) -> None:
        """Remove batches that are old, and what is left of those that never came to be. Blocks."""
        storage = self.batches.storage
        for folder in storage.names(""):
            tenant = tenant_of(folder)
            for batch_id in storage.names(folder):
                if not ID.fullmatch(batch_id):
                    continue
                if storage.exists(f"{folder}/{batch_id}/{REMOVED}"):
                    if self._expired(batch_id, now - self.batches.ttl_s):
                        storage.remove(f"{folder}/{batch_id}")
                elif self._expired(batch_id, now) or self._abandoned(f"{folder}/{batch_id}", now):
                    self.batches.remove(tenant, batch_id)

    def _expired(self, batch_id: str, now: float) -> bool:
        return created_at(batch_id) + self.batches.ttl_s < now

    def _abandoned(self, folder: str, now: float) -> bool:
        """Whether a batch was not acknowledged and nobody writes it any more."""
        storage = self.batches.storage
        return not storage.exists(f"{folder}/{QUEUED}") and storage.age_s(folder, now) > ABANDONED_S
