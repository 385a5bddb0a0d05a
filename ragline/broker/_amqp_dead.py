"""Walks through the dead letters in RabbitMQ: each is either settled or goes back to its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelLockedResource

from ragline.broker._amqp_link import Link, away, leave
from ragline.broker._amqp_messages import Letter, read
from ragline.errors import Unavailable

AT_ONCE = 500  # letters taken in one go
LOOK_S = 0.05
WAIT_S = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parked:
    """A dead letter that is held back for as long as the walk lasts."""

    letter: Letter
    tag: int
    channel: AbstractChannel

    async def remove(self) -> None:
        """Take it out of the dead letters; raises Unavailable."""
        with away():
            await self.channel.basic_ack(self.tag, wait=False)


class Walk:
    """One walk over the queue of dead letters ``name``, with a connection of its own, and alone."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._name = name
        self._channels: list[AbstractChannel] = []

    async def letters(self, limit: int | None = None) -> AsyncIterator[list[Parked]]:
        """The letters that were there when the walk began, oldest first, at most ``limit``, in parts.

        Raises Unavailable. What is not removed goes back to its place at the end.
        """
        async with self._link.visit() as channel:
            left = (await channel.queue_declare(self._name, passive=True)).message_count or 0
        left = left if limit is None else min(left, limit)
        while left > 0 and (part := await self._take(min(left, AT_ONCE))):
            left -= len(part)
            yield part

    async def _take(self, count: int) -> list[Parked]:
        channel = await self._link.channel()
        self._channels.append(channel)  # what stays in hand stays with its channel: the next part needs another
        taken: asyncio.Queue[Parked] = asyncio.Queue()

        async def receive(delivered: DeliveredMessage) -> None:
            taken.put_nowait(Parked(read(delivered), delivered.delivery_tag or 0, channel))

        part: list[Parked] = []
        with away():
            async with asyncio.timeout(self._link.answer_s):
                await channel.basic_qos(prefetch_count=count)
                taking = await channel.basic_consume(self._name, receive)
            try:
                while len(part) < count:
                    async with asyncio.timeout(self._link.answer_s):
                        part.append(await taken.get())
            except TimeoutError:
                log.warning("fewer dead letters than counted", queue=self._name, missing=count - len(part))
            async with asyncio.timeout(self._link.answer_s):
                await channel.basic_cancel(taking.consumer_tag or "")
        return part

    async def end(self) -> None:
        """Give back what is still held, in its order: closing channel after channel keeps that."""
        for channel in self._channels:
            await leave(channel, self._link.answer_s)


@asynccontextmanager
async def walking(link: Link, name: str) -> AsyncIterator[Walk]:
    """A walk over a link of its own, which this closes; raises Unavailable while somebody else walks."""
    walk = Walk(link, name)
    try:
        async with asyncio.timeout(WAIT_S):
            await lock(link, f"{name}.walk")
        yield walk
        await walk.end()
    except TimeoutError as error:
        raise Unavailable("Somebody else goes through these dead letters; try again later.") from error
    finally:
        await link.close()


async def lock(link: Link, name: str) -> None:
    """Wait until nobody else has it: a queue that only one connection can have, gone with that connection."""
    while True:
        try:
            async with link.visit(ChannelLockedResource) as channel:
                await channel.queue_declare(name, exclusive=True)
        except ChannelLockedResource:
            await asyncio.sleep(LOOK_S)
        else:
            return
