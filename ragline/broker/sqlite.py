"""Keeps queues in one SQLite file: durable, ordered by key, with retries and dead letters, and no server."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import PositiveFloat, PositiveInt

from ragline.batching import Batcher
from ragline.broker import Broker, Consumer, DeadLetter, Handler, NewMessage
from ragline.broker import _policy as policies
from ragline.broker import _queue_file as file
from ragline.broker._consumer import SqliteConsumer
from ragline.errors import Overloaded
from ragline.settings import SettingsError
from ragline.urls import Location

R = TypeVar("R")
Step = Callable[[sqlite3.Connection], Any]

STEPS_AT_ONCE = 256  # steps that share a transaction, and so one wait for the disk
STEPS_WAITING = 20_000
BUSY_S = 30.0


@dataclass(frozen=True)
class Policy(policies.Policy):
    """The bounds and delays of a queue in a file.

    A consumer in another process that is silent for ``lease_s`` loses its messages; ``poll_s`` is how often a
    consumer looks whether another process published something.
    """

    lease_s: float = 60.0
    poll_s: float = 0.5


def load(
    parts: Location,
    max_messages: PositiveInt = Policy.max_messages,
    max_attempts: PositiveInt = Policy.max_attempts,
    retry_s: PositiveFloat = Policy.retry_s,
    max_retry_s: PositiveFloat = Policy.max_retry_s,
    lease_s: PositiveFloat = Policy.lease_s,
    drain_s: PositiveFloat = Policy.drain_s,
) -> Broker:
    """``sqlite:///path/to/queue.db?max_messages=100000&max_attempts=5``."""
    policy = Policy(
        max_messages=max_messages,
        max_attempts=max_attempts,
        retry_s=retry_s,
        max_retry_s=max_retry_s,
        lease_s=lease_s,
        drain_s=drain_s,
    )
    return SqliteBroker(parts.file(), policy)


class SqliteBroker:
    """A broker in one file, for the processes of one machine. Belongs to one event loop.

    Steps that callers ask for at the same time share a transaction and so one wait for the disk. Raises
    SettingsError if the file cannot be used.
    """

    def __init__(self, path: Path, policy: Policy | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = path.absolute()
        self.policy = policy or Policy()
        self.clock = clock
        self._db = file.connect(self.path, BUSY_S)
        self._consumers: list[SqliteConsumer] = []
        try:
            self._lock = self.path.with_name(self.path.name + ".lock").open("w")
        except OSError as error:
            self._db.close()
            raise SettingsError(f"the queue {self.path} cannot be locked: {error}.") from error
        self._recover()
        self._steps: Batcher[Step, Any] = Batcher(
            self._transact, size=lambda _: 1, max_batch=STEPS_AT_ONCE, max_queue=STEPS_WAITING, name="queue"
        )
        self._steps.start()

    async def publish(self, queue: str, messages: Sequence[NewMessage]) -> None:
        """Return when all of them are durable; all or none.

        Raises Overloaded when the queue is full, TooLarge when the messages could never fit.
        """
        wanted = list(messages)
        self.policy.refuse_large(wanted)
        full = await self.step(lambda db: self._publish(db, queue, wanted))
        if full:
            raise Overloaded(full)
        self._wake(queue)

    async def consume(self, queue: str, handler: Handler, *, concurrency: int) -> Consumer:
        """Handle messages, at most ``concurrency`` at a time, until the consumer is stopped."""
        consumer = SqliteConsumer(self, queue, handler, concurrency)
        self._consumers.append(consumer)
        consumer.start()
        return consumer

    async def depth(self, queue: str) -> int:
        """Messages waiting or in hand, those waiting for a retry included."""
        return (await self.step(lambda db: file.depth(db, queue)))[0]

    async def dead_letters(self, queue: str, limit: int = 100) -> list[DeadLetter]:
        """The parked messages, oldest first."""
        return await self.step(lambda db: file.parked(db, queue, limit))

    async def replay(self, queue: str, ids: Sequence[str] = ()) -> int:
        """Put parked messages (all, if no ids are given) at the end of the queue; returns how many."""

        def put_back(db: sqlite3.Connection) -> int:
            letters = file.take_parked(db, queue, ids)
            for letter in letters:
                file.insert(db, queue, *letter)
            return len(letters)

        count = await self.step(put_back)
        self._wake(queue)
        return count

    async def purge(self, queue: str, ids: Sequence[str] = ()) -> int:
        """Forget parked messages (all, if no ids are given); returns how many."""
        return await self.step(lambda db: len(file.take_parked(db, queue, ids)))

    async def close(self) -> None:
        """Stop the consumers that still run, and let go of the file."""
        await asyncio.gather(*(consumer.stop() for consumer in list(self._consumers)))
        await self._steps.close()
        self._db.close()
        self._lock.close()

    async def step(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run ``work`` inside a transaction; it is on the disk when this returns."""
        result: R = await self._steps.submit(work)
        return result

    def forget(self, consumer: SqliteConsumer) -> None:
        """A consumer has stopped."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def _wake(self, queue: str) -> None:
        for consumer in self._consumers:
            if consumer.queue == queue:
                consumer.wake()

    def _transact(self, steps: Sequence[Step]) -> list[Any]:
        """Run the steps in one transaction; if one raises, none has happened and each is run again alone."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = [step(self._db) for step in steps]
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        return results

    def _publish(self, db: sqlite3.Connection, queue: str, messages: Sequence[NewMessage]) -> str:
        """Add the messages; returns why not, if the queue is full."""
        full = self.policy.full(queue, *file.depth(db, queue), len(messages))
        if not full:
            file.add(db, queue, messages)
        return full

    def _recover(self) -> None:
        """Give back what dead consumers had in hand, if no other process has the file open.

        The kernel drops the lock of a process that dies, however it dies. With other processes about, what
        a dead one had comes back when its lease runs out.
        """
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            now = self.clock()
            self._transact([lambda db: file.bury(db, file.in_hand(db), now, self.policy.max_deaths)])
        fcntl.flock(self._lock, fcntl.LOCK_SH)
