"""The queues in RabbitMQ that one queue of ours is made of: declared when needed, and counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from ragline.broker._amqp_link import Link
from ragline.broker._policy import Outcome
from ragline.broker._policy import Policy as SharedPolicy
from ragline.errors import Overloaded

COUNT_AGE_S = 1.0  # for so long, what was counted is taken as known, plus what was published since
# RabbitMQ 4 drops a message after 20 deliveries unless told otherwise, and 3 does not know "never".
# Deaths are counted by the consumer, who parks the message with a reason.
NEVER = 1_000_000_000
QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": NEVER}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Policy(SharedPolicy):
    """The bounds and delays of a queue in RabbitMQ.

    ``answer_s`` bounds every wait for the server. Every ``look_s`` a consumer makes sure that the server still
    knows it. A connection on which nothing came for three times
    ``heartbeat_s`` is given up. ``prefix`` begins the names of all queues, so that suites can share a server.
    """

    answer_s: float = 5.0
    look_s: float = 30.0
    heartbeat_s: int = 10
    prefix: str = ""


@dataclass(frozen=True)
class Counts:
    """Messages of a queue: ready to be handed out, waiting for a retry, parked."""

    ready: int
    delayed: int
    dead: int

    @property
    def waiting(self) -> int:
        """All that are still to be handled."""
        return self.ready + self.delayed


class Queues:
    """Names, declares and counts the queues in RabbitMQ, over one connection.

    A message to be tried again goes to a queue whose messages expire after that delay, and RabbitMQ puts
    them back; it keeps each until its own queue has confirmed it (at-least-once).
    """

    def __init__(self, link: Link, policy: Policy) -> None:
        self._link = link
        self._policy = policy
        self._declared: dict[str, AbstractConnection | None] = {}
        self._counts: dict[str, tuple[float, Counts]] = {}

    def name(self, queue: str) -> str:
        """The queue that is consumed."""
        return self._policy.prefix + queue

    def dead(self, queue: str) -> str:
        """The queue of dead letters."""
        return f"{self.name(queue)}.dead"

    def again(self, queue: str, attempt: int, outcome: Outcome) -> str:
        """The queue that a message waits in until its next attempt."""
        soon_s = min(self._policy.soon_s, self._policy.max_retry_s)
        delay_s = self._policy.delay_s(attempt, spread=False) if outcome.counted else soon_s
        return self._delay(queue, milliseconds(delay_s))

    async def ensure(self, queue: str) -> None:
        """Declare what is not known to be there; raises Unavailable."""
        if queue in self._declared and self._declared[queue] is self._link.connection:
            return
        for name, arguments in self._arguments(queue).items():
            await self._declare(name, arguments)
        self._declared[queue] = self._link.connection

    def forget(self, queue: str) -> None:
        """Somebody has deleted a queue: declare it again before the next use."""
        self._declared.pop(queue, None)

    async def count(self, queue: str) -> Counts:
        """Count the messages; raises Unavailable. Those in a consumer's hands RabbitMQ does not tell."""
        await self.ensure(queue)
        try:
            counts = await self._count(queue)
        except ChannelNotFoundEntity:
            self.forget(queue)
            await self.ensure(queue)
            counts = await self._count(queue)
        self._counts[queue] = (time.monotonic(), counts)
        return counts

    async def admit(self, queue: str, more: int) -> None:
        """Raise Overloaded when so many more messages do not fit."""
        counted_at, counts = self._counts.get(queue, (0.0, Counts(0, 0, 0)))
        full = self._policy.full(queue, counts.waiting, counts.dead, more)
        if full or not counted_at or time.monotonic() - counted_at > COUNT_AGE_S:
            counts = await self.count(queue)
            full = self._policy.full(queue, counts.waiting, counts.dead, more)
        if full:
            raise Overloaded(full)
        counted_at, counts = self._counts[queue]  # another call may have been let in meanwhile
        self._counts[queue] = (counted_at, replace(counts, ready=counts.ready + more))

    async def _count(self, queue: str) -> Counts:
        async with self._link.visit(ChannelNotFoundEntity) as channel:
            counted = {}
            for name in self._arguments(queue):
                counted[name] = (await channel.queue_declare(name, passive=True)).message_count or 0
        ready, dead = counted.pop(self.name(queue)), counted.pop(self.dead(queue))
        return Counts(ready, sum(counted.values()), dead)

    async def _declare(self, name: str, arguments: dict[str, Any]) -> None:
        try:
            async with self._link.visit(ChannelPreconditionFailed) as channel:
                await channel.queue_declare(name, durable=True, arguments=arguments)
        except ChannelPreconditionFailed as error:
            # Made under other settings. It works all the same; only its own bound stays what it was.
            log.warning("queue keeps the arguments it was made with", queue=name, error=str(error))
            async with self._link.visit() as channel:
                await channel.queue_declare(name, passive=True)

    def _arguments(self, queue: str) -> dict[str, dict[str, Any]]:
        """The queues of a queue, each with its arguments."""
        main, policy = self.name(queue), self._policy
        # Twice the bound that publishers keep to: a retry that comes back, or a replay, must find room.
        bound = {"x-max-length": 2 * policy.max_messages, "x-overflow": "reject-publish"}
        steps = {milliseconds(policy.delay_s(n, spread=False)) for n in range(1, min(policy.max_attempts, 50))}
        steps.add(milliseconds(min(policy.soon_s, policy.max_retry_s)))
        back = {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": main,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        delays = {self._delay(queue, step): QUORUM | back | {"x-message-ttl": step} for step in sorted(steps)}
        return {main: QUORUM | bound, self.dead(queue): QUORUM, **delays}

    def _delay(self, queue: str, step: int) -> str:
        return f"{self.name(queue)}.delay.{step}"


def milliseconds(seconds: float) -> int:
    """At least one, as RabbitMQ counts."""
    return max(1, round(seconds * 1000))
