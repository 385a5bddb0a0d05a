"""Takes messages out of the queue file, runs the handler on them and settles each by how that ended."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from typing import TYPE_CHECKING

import structlog

from ragline.broker import Handler, Poison
from ragline.broker import _queue_file as file
from ragline.errors import RaglineError

if TYPE_CHECKING:
    from ragline.broker.sqlite import SqliteBroker

MAX_REASON = 500  # characters of a dead letter's reason

log = structlog.get_logger(__name__)


class SqliteConsumer:
    """Handles the messages of one queue, at most ``concurrency`` at a time."""

    def __init__(self, broker: SqliteBroker, queue: str, handler: Handler, concurrency: int) -> None:
        self.queue = queue
        self._broker = broker
        self._handler = handler
        self._concurrency = concurrency
        self._owner = uuid.uuid4().hex
        self._changed = asyncio.Event()
        self._stopping = False
        self._ending = asyncio.Lock()
        self._in_hand: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take messages."""
        self._tasks = [asyncio.create_task(self._take()), asyncio.create_task(self._keep_lease())]

    def wake(self) -> None:
        """There may be something to do."""
        self._changed.set()

    async def stop(self) -> None:
        """Take no more messages, let those in hand finish (the broker's ``drain_s``), give back the others."""
        self._stopping = True
        self.wake()
        async with self._ending:
            if not self._tasks:
                return
            taking, keeping = self._tasks
            await asyncio.wait((taking,))
            drain_s = self._broker.policy.drain_s
            if self._in_hand:
                await asyncio.wait(self._in_hand, timeout=drain_s)
            for task in self._in_hand:
                task.cancel()
            if self._in_hand:
                await asyncio.wait(self._in_hand, timeout=drain_s)
            keeping.cancel()
            await asyncio.wait((keeping,))
            await self._broker.step(lambda db: file.give_back(db, self._owner))
            self._tasks = []
            self._broker.forget(self)

    async def _take(self) -> None:
        while not self._stopping:
            self._changed.clear()
            free = self._concurrency - len(self._in_hand)
            if free:
                await self._pause(await self._fill(free))
            else:
                await self._pause(None)

    async def _fill(self, free: int) -> float:
        """Take up to ``free`` messages; returns the seconds to wait before there may be more."""
        try:
            deliveries, wait_s = await self._broker.step(lambda db: self._claim(db, free))
        except (sqlite3.Error, RaglineError) as error:
            log.warning("queue cannot be read", queue=self.queue, error=str(error))
            return self._broker.policy.poll_s
        if not self._stopping:  # else stop() gives them back
            for delivery in deliveries:
                self._hand_over(delivery)
        return wait_s

    def _claim(self, db: sqlite3.Connection, free: int) -> tuple[list[file.Delivery], float]:
        """Take up to ``free`` messages; and the seconds until there may be more without anyone saying so."""
        policy, now = self._broker.policy, self._broker.clock()
        file.bury(db, file.orphans(db, self.queue, now, self._owner), now, policy.max_deaths)
        file.wake(db, self.queue, now, policy.max_retry_s)
        if self._stopping:
            return [], 0.0
        deliveries = file.claim(db, self.queue, self._owner, free, now + policy.lease_s)
        due = file.next_due(db, self.queue)
        wait_s = policy.poll_s if due is None else min(policy.poll_s, max(0.0, due - now))
        return deliveries, wait_s

    async def _pause(self, timeout_s: float | None) -> None:
        """Until something changed here, or another process may have changed something."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def _hand_over(self, delivery: file.Delivery) -> None:
        task = asyncio.create_task(self._handle(delivery))
        self._in_hand.add(task)
        task.add_done_callback(self._handed_back)

    def _handed_back(self, task: asyncio.Task[None]) -> None:
        self._in_hand.discard(task)
        self.wake()
        error = None if task.cancelled() else task.exception()
        if error is not None:  # it could not be settled: its lease runs out and it is handed out again
            log.error("message could not be settled", queue=self.queue, error=str(error))

    async def _handle(self, delivery: file.Delivery) -> None:
        message = delivery.message
        try:
            await self._handler(message)
        except Poison as error:
            log.error("message is poison", queue=self.queue, message=message.id, reason=sentence(error))  # noqa: TRY400
            await self._settle(delivery, park=sentence(error))
        except asyncio.CancelledError:
            if self._stopping:
                raise  # stop() gives it back
            await self._failed(delivery, "its handler was cancelled")
        except Exception as error:  # whatever a handler raises means: not handled, try again
            log.warning(
                "message failed", queue=self.queue, message=message.id, attempt=message.attempt, exc_info=error
            )
            await self._failed(delivery, sentence(error))
        else:
            await self._settle(delivery)

    async def _failed(self, delivery: file.Delivery, reason: str) -> None:
        policy, attempt = self._broker.policy, delivery.message.attempt
        if attempt >= policy.max_attempts:
            await self._settle(delivery, park=reason)
        else:
            await self._settle(delivery, due=self._broker.clock() + policy.delay_s(attempt))

    async def _settle(self, delivery: file.Delivery, park: str | None = None, due: float | None = None) -> None:
        """Park the message, postpone it, or, with neither, forget it; unless it is someone else's by now."""

        def settle(db: sqlite3.Connection) -> bool:
            if not file.held(db, delivery.seq, self._owner):
                return False
            if park is not None:
                file.park(db, delivery.seq, park, self._broker.clock())
            elif due is not None:
                file.postpone(db, delivery.seq, due)
            else:
                file.remove(db, delivery.seq)
            return True

        if not await self._broker.step(settle):
            log.warning("lease was lost, message is handled again", queue=self.queue, message=delivery.message.id)

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self._broker.policy.lease_s / 3)
            try:
                await self._broker.step(self._extend)
            except (sqlite3.Error, RaglineError) as error:
                log.warning("lease could not be kept", queue=self.queue, error=str(error))

    def _extend(self, db: sqlite3.Connection) -> None:
        file.extend(db, self._owner, self._broker.clock() + self._broker.policy.lease_s)


def sentence(error: BaseException) -> str:
    """What a failure says, in one bounded line; never a stack trace."""
    if isinstance(error, Poison | RaglineError) and str(error):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
    return " ".join(text.split())[:MAX_REASON]
