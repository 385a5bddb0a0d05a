"""Walks through the dead letters in RabbitMQ: each is either settled or goes back to its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelLockedResource

from ragline.broker._amqp_link import Link, away, leave
from ragline.broker._amqp_messages import Letter, read
from ragline.errors import RaglineError, Unavailable

AT_ONCE = 500  # letters taken in one go
LOOK_S = 0.05
WAIT_S = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parked:
    """A dead letter that is held back for as long as the walk lasts."""

    letter: Letter
    tag: int
    hand: Hand

    async def remove(self) -> None:
        """Take it out of the dead letters; raises Unavailable."""
        with away():
            await self.hand.channel.basic_ack(self.tag)
        self.hand.held -= 1
        self.hand.removed += 1


@dataclass
class Hand:
    """A channel that holds up to ``room`` letters: with so many ``held``, it gets no more."""

    channel: AbstractChannel
    room: int
    consumer: str = ""
    held: int = 0
    removed: int = 0


class Walk:
    """One walk over the queue of dead letters ``name``, with a connection of its own, and alone."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._name = name
        self._hands: list[Hand] = []
        self._left = 0  # how many must be there again after the walk
        self._taken: asyncio.Queue[Parked] = asyncio.Queue()

    async def letters(self, limit: int | None = None) -> AsyncIterator[list[Parked]]:
        """The letters that were there when the walk began, oldest first, at most ``limit``, in parts.

        Raises Unavailable. What is not removed goes back to its place at the end.
        """
        async with self._link.visit() as channel:
            self._left = await self._count(channel)
        left = self._left if limit is None else min(self._left, limit)
        while left > 0 and (part := await self._take(min(left, AT_ONCE))):
            left -= len(part)
            yield part

    async def end(self) -> None:
        """Give back what is still held, in its order: closing channel after channel keeps that.

        A channel that is closed forgets what it has not told its queue yet. It has told all once the queue has
        answered it, as it does when a consumer is cancelled, and it has had a turn after that.
        """
        for hand in self._hands:
            with away():
                async with asyncio.timeout(self._link.answer_s):
                    await hand.channel.basic_cancel(hand.consumer)
                    await self._count(hand.channel)
        for hand in self._hands:
            await leave(hand.channel, self._link.answer_s)
            self._left -= hand.removed
        await self._until_back()

    async def _until_back(self) -> None:
        """Wait until all that went back is there again: whoever walks next is to see it."""
        deadline = time.monotonic() + self._link.answer_s / 2
        async with self._link.visit() as channel:
            while time.monotonic() < deadline:
                if await self._count(channel) >= self._left:
                    return
                await asyncio.sleep(LOOK_S / 5)

    async def _count(self, channel: AbstractChannel) -> int:
        return (await channel.queue_declare(self._name, passive=True)).message_count or 0

    async def _take(self, count: int) -> list[Parked]:
        part: list[Parked] = []
        while len(part) < count:
            if self._taken.empty() and all(hand.held >= hand.room for hand in self._hands):
                await self._reach(count - len(part))  # no further: later ones would go back before these
            try:
                async with asyncio.timeout(self._link.answer_s):
                    part.append(await self._taken.get())
            except TimeoutError:
                log.warning("fewer dead letters than counted", queue=self._name, missing=count - len(part))
                break
        return part

    async def _reach(self, room: int) -> None:
        """Hold out one more hand."""
        hand = Hand(await self._link.channel(), room)

        async def receive(delivered: DeliveredMessage) -> None:
            hand.held += 1
            self._taken.put_nowait(Parked(read(delivered), delivered.delivery_tag or 0, hand))

        with away():
            async with asyncio.timeout(self._link.answer_s):
                await hand.channel.basic_qos(prefetch_count=room)
                hand.consumer = (await hand.channel.basic_consume(self._name, receive)).consumer_tag or ""
        self._hands.append(hand)


@asynccontextmanager
async def walking(link: Link, name: str) -> AsyncIterator[Walk]:
    """A walk over a link of its own, which this closes; raises Unavailable while somebody else walks."""
    walk = Walk(link, name)
    try:
        await lock(link, f"{name}.walk")
        try:
            yield walk
        except RaglineError:
            await walk.end()  # what was settled until then stays so
            raise
        await walk.end()
    finally:
        await link.close()


async def lock(link: Link, name: str) -> None:
    """Wait until nobody else has it: a queue that only one connection can have, gone with that connection."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            async with link.visit(ChannelLockedResource) as channel:
                await channel.queue_declare(name, exclusive=True)
        except ChannelLockedResource:
            await asyncio.sleep(LOOK_S)
        else:
            return
    raise Unavailable("Somebody else goes through these dead letters; try again later.")
