"""Publishes to RabbitMQ: many messages at once, each confirmed by the server before it counts as sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import structlog
from aio_pika.exceptions import DeliveryError, PublishError
from aiormq.abc import AbstractChannel

from ragline.broker._amqp_link import AWAY, RETRY_AFTER_S, Link, away
from ragline.broker._amqp_messages import Letter
from ragline.errors import Overloaded, RaglineError, Unavailable

WINDOW = 500  # messages on their way at once
WINDOW_BYTES = 8_000_000

log = structlog.get_logger(__name__)


class Sender:
    """The publishing end of a link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._opening = asyncio.Lock()
        self._channel: AbstractChannel | None = None

    async def send(self, name: str, letters: Sequence[Letter]) -> None:
        """Return once the server has written them all to the queue ``name``; else raise why not, see ``offer``."""
        for window in windows(letters):
            refuse(await self.offer(name, window))

    async def offer(self, name: str, letters: Sequence[Letter]) -> list[RaglineError | None]:
        """What became of each of a few letters: None for one that the server has written to the queue.

        Overloaded: it is full. NoSuchQueue: it is not there. Unavailable: the server did not say in time, and the
        letter may be in the queue or not.
        """
        try:
            channel = await self._open()
        except Unavailable as error:
            return [error] * len(letters)
        publishing = [asyncio.create_task(publish(channel, name, letter)) for letter in letters]
        try:
            _, late = await asyncio.wait(publishing, timeout=self._link.answer_s)
        finally:
            for task in publishing:
                task.cancel()  # does nothing to those that are done
        if late:
            log.warning("the broker confirms nothing", queue=name, messages=len(late))
            self._link.drop()
        ended = await asyncio.gather(*publishing, return_exceptions=True)
        return [failure_of(result) for result in ended]

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._link.channel()
            return self._channel


class NoSuchQueue(Unavailable):
    """The queue is not there: somebody has deleted it."""


async def publish(channel: AbstractChannel, name: str, letter: Letter) -> RaglineError | None:
    """Publish one letter and wait for its confirmation; returns what went wrong."""
    try:
        with away(DeliveryError):
            await channel.basic_publish(
                letter.body, routing_key=name, properties=letter.properties(), mandatory=True
            )
    except PublishError:
        return NoSuchQueue(f"The queue {name} is not there.")
    except DeliveryError:
        return Overloaded(f"The queue {name} takes no more messages.")
    except Unavailable as error:
        return error
    return None


def failure_of(result: RaglineError | BaseException | None) -> RaglineError | None:
    """What ``publish`` returned, or what its being cancelled means; raises what neither of them is."""
    if isinstance(result, asyncio.CancelledError):
        return Unavailable(AWAY, retry_after_s=RETRY_AFTER_S)
    if isinstance(result, RaglineError | None):
        return result
    raise result


def refuse(failures: Sequence[RaglineError | None]) -> None:
    """Raise the first failure, if there is one."""
    for failure in failures:
        if failure is not None:
            raise failure


def windows(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """The letters in parts that are small enough to be on their way at once."""
    part: list[Letter] = []
    size = 0
    for letter in letters:
        if part and (len(part) >= WINDOW or size + len(letter.body) > WINDOW_BYTES):
            yield part
            part, size = [], 0
        part.append(letter)
        size += len(letter.body)
    if part:
        yield part
