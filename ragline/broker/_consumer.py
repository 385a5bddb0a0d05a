"""Takes messages out of the queue file, runs the handler on them and settles each by how that ended."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from typing import TYPE_CHECKING

import structlog

from ragline.broker import Handler
from ragline.broker import _queue_file as file
from ragline.broker._policy import Outcome, attempt
from ragline.errors import RaglineError

if TYPE_CHECKING:
    from ragline.broker.sqlite import SqliteBroker

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
        policy, message = self._broker.policy, delivery.message
        outcome = await attempt(
            self._handler, self.queue, message, policy.max_attempts, lambda: self._stopping
        )  # cancelled while stopping: stop() gives it back
        await self._settle(delivery, outcome)

    async def _settle(self, delivery: file.Delivery, outcome: Outcome) -> None:
        """Park the message, postpone it or forget it; unless it is someone else's by now."""
        due = self._due(delivery, outcome)

        def settle(db: sqlite3.Connection) -> bool:
            if not file.held(db, delivery.seq, self._owner):
                return False
            if outcome.park:
                file.park(db, delivery.seq, outcome.park, self._broker.clock())
            elif outcome.again:
                file.postpone(db, delivery.seq, due, counted=outcome.counted)
            else:
                file.remove(db, delivery.seq)
            return True

        if not await self._broker.step(settle):
            log.warning("lease was lost, message is handled again", queue=self.queue, message=delivery.message.id)

    def _due(self, delivery: file.Delivery, outcome: Outcome) -> float:
        policy = self._broker.policy
        soon_s = min(policy.soon_s, policy.max_retry_s)
        wait_s = policy.delay_s(delivery.message.attempt) if outcome.counted else soon_s
        return self._broker.clock() + wait_s

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self._broker.policy.lease_s / 3)
            try:
                await self._broker.step(self._extend)
            except (sqlite3.Error, RaglineError) as error:
                log.warning("lease could not be kept", queue=self.queue, error=str(error))

    def _extend(self, db: sqlite3.Connection) -> None:
        file.extend(db, self._owner, self._broker.clock() + self._broker.policy.lease_s)
