"""Keeps queues in RabbitMQ: quorum queues, confirmed publishing, delayed retries and dead letters."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt
from yarl import URL

from ragline.broker import Broker, Consumer, DeadLetter, Handler, NewMessage
from ragline.broker._amqp_consumer import AmqpConsumer
from ragline.broker._amqp_dead import Walk, walking
from ragline.broker._amqp_link import Link
from ragline.broker._amqp_messages import Letter, written
from ragline.broker._amqp_queues import Policy, Queues
from ragline.broker._amqp_sender import NoSuchQueue, Sender, refuse
from ragline.settings import SettingsError
from ragline.urls import Location

Delay = Annotated[float, Field(gt=0, le=86_400)]
Prefix = Annotated[str, Field(pattern=r"^[\w-][\w.-]*$|^$", max_length=100)]


def load(  # noqa: PLR0913, PLR0917 - each is an option of the URL
    parts: Location,
    max_messages: PositiveInt = Policy.max_messages,
    max_attempts: PositiveInt = Policy.max_attempts,
    retry_s: Delay = Policy.retry_s,
    max_retry_s: Delay = Policy.max_retry_s,
    drain_s: Delay = Policy.drain_s,
    answer_s: Delay = Policy.answer_s,
    prefix: Prefix = Policy.prefix,
    cafile: str = "",
) -> Broker:
    """``amqp://login@host:5672/vhost?max_attempts=5&prefix=staging-``, or amqps with ``cafile``."""
    policy = Policy(
        max_messages=max_messages,
        max_attempts=max_attempts,
        retry_s=retry_s,
        max_retry_s=max_retry_s,
        drain_s=drain_s,
        answer_s=answer_s,
        prefix=prefix,
    )
    return AmqpBroker(address(parts.url), policy, authorities(cafile) if parts.scheme == "amqps" else None)


def address(url: str) -> URL:
    """The URL without our options; raises SettingsError, which does not repeat the password."""
    parts = urlsplit(url)
    try:
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        raise SettingsError(
            f"the {parts.scheme}:// URL of the broker names no host and port; "
            f"write {parts.scheme}://login@host:5672/vhost, special characters as %40 and the like."
        )
    return URL(url).with_query(heartbeat=str(Policy.heartbeat_s))


def authorities(cafile: str) -> ssl.SSLContext:
    """Who may sign the server's certificate: the system's authorities, or those in a file."""
    try:
        return ssl.create_default_context(cafile=Path(cafile).expanduser() if cafile else None)
    except OSError as error:
        raise SettingsError(f"cafile={cafile!r} cannot be read: {error}.") from error


class AmqpBroker:
    """A broker in RabbitMQ, for the processes of many machines. Belongs to one event loop.

    It connects when it is first used, and again whenever the connection was lost. Publishing and consuming have
    a connection each, because the server stops reading from those that publish when it runs out of room.
    """

    def __init__(self, url: URL, policy: Policy | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.policy = policy or Policy()
        self._url = url
        self._tls = tls
        self.outgoing = self._link("publish")
        self.incoming = self._link("consume")
        self.queues = Queues(self.outgoing, self.policy)
        self.incoming_queues = Queues(self.incoming, self.policy)
        self._sender = Sender(self.outgoing)
        self._consumers: list[AmqpConsumer] = []

    async def publish(self, queue: str, messages: Sequence[NewMessage]) -> None:
        """Return when the server has written all of them.

        Raises Overloaded when the queue is full, TooLarge when the messages could never fit, and Unavailable
        when the server does not confirm in time; then some may be in the queue.
        """
        wanted = list(messages)
        self.policy.refuse_large(wanted)
        if not wanted:
            return
        await self.queues.ensure(queue)
        await self.queues.admit(queue, len(wanted))
        await self.send(queue, self.queues.name(queue), [written(message) for message in wanted])

    async def consume(self, queue: str, handler: Handler, *, concurrency: int) -> Consumer:
        """Handle messages, at most ``concurrency`` at a time, until the consumer is stopped.

        Returns at once; while the server is away, the consumer tries to reach it.
        """
        consumer = AmqpConsumer(self, queue, handler, concurrency)
        self._consumers.append(consumer)
        consumer.start()
        return consumer

    async def depth(self, queue: str) -> int:
        """Messages waiting, those for a retry included, and those that this broker's own consumers have in hand.

        RabbitMQ does not say what other processes have in hand, and a message on its way from the server is
        counted by neither side for a moment. Raises Unavailable.
        """
        counts = await self.queues.count(queue)
        return counts.waiting + sum(one.in_hand for one in self._consumers if one.queue == queue)

    async def dead_letters(self, queue: str, limit: int = 100) -> list[DeadLetter]:
        """The parked messages, oldest first; raises Unavailable."""
        async with self._walk(queue, "dead letters") as walk:
            found = [one.letter.dead() async for part in walk.letters(limit) for one in part]
        return sorted(found, key=lambda letter: letter.parked_at)

    async def replay(self, queue: str, ids: Sequence[str] = ()) -> int:
        """Put parked messages (all, if no ids are given) at the end of the queue; returns how many.

        Each is in the queue before it leaves the dead letters: whatever dies in between, it is in one of them, or
        in both. Raises Overloaded when the queue takes no more and Unavailable; what was put back stays so.
        """
        count = 0
        async with self._walk(queue, "replay") as walk:
            async for part in walk.letters():
                chosen = [one for one in part if not ids or one.letter.id in ids]
                letters = [one.letter.fresh() for one in chosen]
                failures = await self._sender.offer(self.queues.name(queue), letters)
                for one, failure in zip(chosen, failures, strict=True):
                    if failure is None:
                        await one.remove()
                        count += 1
                refuse(failures)
        return count

    async def purge(self, queue: str, ids: Sequence[str] = ()) -> int:
        """Forget parked messages (all, if no ids are given); returns how many. Raises Unavailable."""
        count = 0
        async with self._walk(queue, "purge") as walk:
            async for part in walk.letters():
                for one in part:
                    if not ids or one.letter.id in ids:
                        await one.remove()
                        count += 1
        return count

    async def close(self) -> None:
        """Stop the consumers that still run, and close the connections."""
        await asyncio.gather(*(consumer.stop() for consumer in list(self._consumers)))
        await asyncio.gather(self.outgoing.close(), self.incoming.close())

    async def send(self, queue: str, name: str, letters: Sequence[Letter]) -> None:
        """Publish to one of the queues of a queue; one that was deleted is made again."""
        await self.queues.ensure(queue)
        try:
            await self._sender.send(name, letters)
        except NoSuchQueue:
            self.queues.forget(queue)
            await self.queues.ensure(queue)
            await self._sender.send(name, letters)

    def forget(self, consumer: AmqpConsumer) -> None:
        """A consumer has stopped."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    @asynccontextmanager
    async def _walk(self, queue: str, purpose: str) -> AsyncIterator[Walk]:
        await self.queues.count(queue)  # makes the queue of dead letters if it is not there
        async with walking(self._link(purpose), self.queues.dead(queue)) as walk:
            yield walk

    def _link(self, purpose: str) -> Link:
        name = f"ragline {self.policy.prefix}{purpose}"
        return Link(self._url, name, self.policy.answer_s, self._tls)
