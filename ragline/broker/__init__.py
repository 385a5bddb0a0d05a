"""Durable queues between a door and its worker: one interface, chosen by a URL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ragline.backends import load
from ragline.urls import parse

BACKENDS = {"sqlite": "sqlite", "amqp": "amqp", "amqps": "amqp"}  # by scheme


class Poison(Exception):
    """Raised by a handler: the message can never be handled, so it is parked at once with this reason."""


class Unfinished(Exception):
    """Raised by a handler that did a part of the work and kept it: called again soon, no attempt is counted."""


@dataclass(frozen=True)
class Message:
    """A message in a consumer's hands. Equal keys are handled one after the other, in order."""

    id: str
    body: bytes
    key: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class NewMessage:
    """A message to publish; equal keys keep their order, an empty key has none."""

    body: bytes
    key: str = ""


@dataclass(frozen=True)
class DeadLetter:
    """A message that was given up, and why. ``parked_at`` is seconds since the epoch."""

    id: str
    body: bytes
    key: str
    attempts: int
    reason: str
    parked_at: float


Handler = Callable[[Message], Awaitable[None]]


class Consumer(Protocol):
    """A running consumer."""

    async def stop(self) -> None:
        """Take no more messages, let those in hand finish, give back what does not."""
        ...


class Broker(Protocol):
    """At-least-once delivery: a message is gone only once its handler returned.

    A handler that raises is called again after a growing delay, ``max_attempts`` times in all; then the
    message is parked as a dead letter. A consumer that dies gives its messages back.

    Messages of equal keys are never handled at the same time by one consumer, and in order as long as none
    of them has to come again. What is more, only the queue in a file promises: there a message waits while an
    older one of its key waits for its retry, whoever the consumers are. With RabbitMQ, several consumers,
    retries and redeliveries may change the order and hand a message out twice: a handler that minds carries
    a number of its own sequence in the body.
    """

    async def publish(self, queue: str, messages: Sequence[NewMessage]) -> None:
        """Return when all of them are durable.

        Raises Overloaded when the queue is full and TooLarge when they could never fit: then none is in.
        Raises Unavailable when the server is away or does not confirm in time: then some may be in.
        """
        ...

    async def consume(self, queue: str, handler: Handler, *, concurrency: int) -> Consumer:
        """Handle messages, at most ``concurrency`` at a time, until the consumer is stopped.

        Returns at once, and tries for as long as the server is away.
        """
        ...

    async def depth(self, queue: str) -> int:
        """Messages waiting, for a retry too, or in hand; raises Unavailable.

        RabbitMQ tells only what this broker's own consumers have in hand, and what is on its way between it and
        them is counted by neither for a moment.
        """
        ...

    async def dead_letters(self, queue: str, limit: int = 100) -> list[DeadLetter]:
        """The parked messages, oldest first; raises Unavailable."""
        ...

    async def replay(self, queue: str, ids: Sequence[str] = ()) -> int:
        """Put parked messages (all, if no ids are given) back in the queue; returns how many.

        Raises Overloaded when the queue is full, and Unavailable; what was put back until then stays so.
        """
        ...

    async def purge(self, queue: str, ids: Sequence[str] = ()) -> int:
        """Forget parked messages (all, if no ids are given); returns how many. Raises Unavailable."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def open(url: str) -> Broker:  # noqa: A001 - read as ragline.broker.open
    """The broker that a URL names; it is reached when it is first used, not now.

    ``sqlite:///path/to/queue.db?max_messages=100000`` or ``amqp://login@host:5672/vhost?max_attempts=5``.
    Raises SettingsError for an unknown scheme or a bad option.
    """
    location = parse(url, tuple(BACKENDS))
    broker: Broker = load(__name__, BACKENDS[location.scheme], location, location.options)
    return broker
