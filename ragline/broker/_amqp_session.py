"""A channel that messages come in on: opened, watched for its end, and left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from ragline.broker._amqp_link import Link, leave
from ragline.broker._amqp_queues import Queues

Receive = Callable[[AbstractChannel, DeliveredMessage], None]


class Session:
    """Consumes one queue over one channel. What the library raises is left to the caller to translate."""

    def __init__(self, link: Link, queues: Queues, queue: str, channel: AbstractChannel) -> None:
        self._link = link
        self._queues = queues
        self._queue = queue
        self._channel = channel
        self._consumer = ""
        self._cancelled = asyncio.Event()

    async def receive(self, prefetch: int, receive: Receive) -> None:
        """Begin to receive, at most ``prefetch`` unsettled messages at a time."""

        async def hand_over(delivered: DeliveredMessage) -> None:
            receive(self._channel, delivered)

        def cancelled(_: spec.Basic.Cancel) -> None:
            self._cancelled.set()

        self._channel.on_consumer_cancel_callbacks.add(cancelled)
        async with asyncio.timeout(self._link.answer_s):
            await self._channel.basic_qos(prefetch_count=prefetch)
            taking = await self._channel.basic_consume(self._queues.name(self._queue), hand_over)
        self._consumer = taking.consumer_tag or ""

    async def until_over(self, stopping: asyncio.Event, look_s: float) -> str:
        """Wait until nothing can come any more; returns why. Empty: it is ``stopping`` that was set."""
        ends: list[asyncio.Future[Any]] = [
            self._channel.closing,
            self._channel.connection.closing,
            asyncio.create_task(self._cancelled.wait()),
            asyncio.create_task(stopping.wait()),
        ]
        try:
            while not (await asyncio.wait(ends, timeout=look_s, return_when=asyncio.FIRST_COMPLETED))[0]:
                if await self._is_forgotten():
                    self._cancelled.set()
        finally:
            for end in ends:
                end.cancel()
        if stopping.is_set():
            return ""
        if self._cancelled.is_set():
            self._queues.forget(self._queue)
            return "the server has cancelled it; has somebody deleted the queue?"
        return reason(self._channel.closing) or reason(self._channel.connection.closing) or "closed"

    async def cancel(self) -> None:
        """Receive no more; what is in hand can still be settled."""
        if not self._channel.is_closed:
            async with asyncio.timeout(self._link.answer_s):
                await self._channel.basic_cancel(self._consumer)

    async def close(self) -> None:
        """Give back what is not settled."""
        await leave(self._channel, self._link.answer_s)

    async def _is_forgotten(self) -> bool:
        """Whether the server knows no consumer: of a queue that was deleted and made again it may not tell."""
        try:
            async with self._link.visit(ChannelNotFoundEntity) as channel:
                found = await channel.queue_declare(self._queues.name(self._queue), passive=True)
        except ChannelNotFoundEntity:
            return True
        return not found.consumer_count


def reason(closing: asyncio.Future[Any]) -> str:
    """Why a channel or a connection was closed, if it was and anybody said so."""
    if not closing.done() or closing.cancelled():
        return ""
    return str(closing.exception() or "")
