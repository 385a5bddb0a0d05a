"""Takes messages from RabbitMQ, runs the handler on them and settles each by how that ended."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage
from cachetools import LRUCache

from ragline.broker import Handler
from ragline.broker._amqp_link import away
from ragline.broker._amqp_messages import Letter, read
from ragline.broker._amqp_session import Session
from ragline.broker._lanes import Lanes
from ragline.broker._policy import DIED, DONE, Outcome, attempt
from ragline.errors import RaglineError, Unavailable

if TYPE_CHECKING:
    from ragline.broker.amqp import AmqpBroker

BACK_OFF_S = (0.2, 5.0)  # the first and the longest wait after the server went away
SETTLED = 10_000  # messages whose end is remembered, for when they come again
LONG_S = 900.0  # half of what RabbitMQ by default lets a message be in hand

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Delivery:
    """A letter in hand, and the channel to settle it on."""

    letter: Letter
    tag: int
    channel: AbstractChannel

    @property
    def held(self) -> bool:
        """Whether it can still be settled: with its channel gone, the server hands it out again."""
        return not self.channel.is_closed


class AmqpConsumer:
    """Handles the messages of one queue, at most ``concurrency`` at a time, as long as the server is there."""

    def __init__(self, broker: AmqpBroker, queue: str, handler: Handler, concurrency: int) -> None:
        self.queue = queue
        self._broker = broker
        self._handler = handler
        self._concurrency = concurrency
        self._stopping = asyncio.Event()
        self._ending = asyncio.Lock()
        self._lanes: Lanes[Delivery] = Lanes(concurrency)
        self._in_hand: dict[asyncio.Task[None], Delivery] = {}
        self._settled: LRUCache[tuple[str, int], bool] = LRUCache(SETTLED)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take messages, now or when the server is there."""
        self._task = asyncio.create_task(self._run())

    @property
    def in_hand(self) -> int:
        """Messages that the server has given to this consumer and to nobody else."""
        return len(self._lanes) + sum(delivery.held for delivery in self._in_hand.values())

    async def stop(self) -> None:
        """Take no more messages, let those in hand finish (the broker's ``drain_s``), give back the others."""
        self._stopping.set()
        async with self._ending:
            if self._task is not None:
                await asyncio.wait((self._task,))
                self._task = None
                self._broker.forget(self)

    async def _run(self) -> None:
        wait_s = BACK_OFF_S[0]
        while not self._stopping.is_set():
            try:
                with away():
                    await self._session()
                wait_s = BACK_OFF_S[0]
            except Unavailable as error:
                log.warning("queue cannot be read", queue=self.queue, error=str(error), again_in_s=wait_s)
            except Exception:  # outermost boundary of a background task: a consumer must not end unnoticed
                log.exception("queue cannot be read", queue=self.queue, again_in_s=wait_s)
            await self._pause(wait_s)
            wait_s = min(2 * wait_s, BACK_OFF_S[1])
        await self._drain()

    async def _session(self) -> None:
        """Consume until the channel is lost or the consumer stops."""
        broker = self._broker
        await broker.incoming_queues.ensure(self.queue)
        channel = await broker.incoming.channel()
        session = Session(broker.incoming, broker.incoming_queues, self.queue, channel)
        try:
            await session.receive(self._concurrency, self._receive)
            log.info("queue is being read", queue=self.queue)
            why = await session.until_over(self._stopping, broker.policy.look_s)
            if why:
                log.warning("queue is not read any more", queue=self.queue, reason=why)
            else:
                await session.cancel()
                await self._drain()
        finally:
            await session.close()
            self._lanes.keep(lambda delivery: delivery.held)

    def _receive(self, channel: AbstractChannel, delivered: DeliveredMessage) -> None:
        if not self._stopping.is_set():  # else it goes back with the channel
            delivery = Delivery(read(delivered), delivered.delivery_tag or 0, channel)
            # A message that comes again while its last handler still runs waits for that one's end.
            self._lanes.add(delivery.letter.key or delivery.letter.id, delivery)
            self._start()

    def _start(self) -> None:
        while not self._stopping.is_set() and (next_one := self._lanes.start()):
            lane, delivery = next_one
            task = asyncio.create_task(self._handle(delivery))
            self._in_hand[task] = delivery
            task.add_done_callback(partial(self._ended, lane))

    def _ended(self, lane: str, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        self._lanes.end(lane)
        self._start()
        error = None if task.cancelled() else task.exception()
        if error is not None:  # it could not be settled: with the channel gone, it is handed out again
            log.error("message could not be settled", queue=self.queue, error=str(error))

    async def _handle(self, delivery: Delivery) -> None:
        letter, policy = delivery.letter, self._broker.policy
        began = time.monotonic()
        if (letter.id, letter.copy) in self._settled:
            outcome = DONE  # all was done but to tell the server
        elif letter.deaths > policy.max_deaths:
            outcome = Outcome(park=DIED.format(deaths=letter.deaths), counted=False)
        else:
            outcome = await attempt(
                self._handler, self.queue, letter.message(), policy.max_attempts, self._stopping.is_set
            )
        if (seconds := time.monotonic() - began) > LONG_S:
            log.warning("message was in hand for long", queue=self.queue, message=letter.id, seconds=seconds)
        await self._settle(delivery, outcome)

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Hand the message on to where it now belongs, then take it off the queue."""
        wait_s = BACK_OFF_S[0]
        while delivery.held:
            try:
                await self._hand_on(delivery.letter, outcome)
                break
            except RaglineError as error:
                log.warning("message stays in hand", queue=self.queue, error=str(error), again_in_s=wait_s)
            if self._stopping.is_set():
                return  # goes back with the channel
            await self._pause(wait_s)
            wait_s = min(2 * wait_s, BACK_OFF_S[1])
        else:
            if outcome != DONE:
                return  # comes again as it was
        self._settled[delivery.letter.id, delivery.letter.copy] = True
        try:
            with away():
                await delivery.channel.basic_ack(delivery.tag)
        except Unavailable:
            log.info("message was handled, and comes again", queue=self.queue, message=delivery.letter.id)

    async def _hand_on(self, letter: Letter, outcome: Outcome) -> None:
        broker, tried = self._broker, letter.tried(counted=outcome.counted)
        if outcome.park:
            await broker.send(self.queue, broker.queues.dead(self.queue), [tried.parked(outcome.park)])
        elif outcome.again:
            name = broker.queues.again(self.queue, letter.attempts + 1, outcome)
            await broker.send(self.queue, name, [tried])

    async def _drain(self) -> None:
        """Let the handlers finish; those that do not are cancelled, and their messages go back."""
        drain_s = self._broker.policy.drain_s
        if self._in_hand:
            await asyncio.wait(self._in_hand, timeout=drain_s)
        for task in self._in_hand:
            task.cancel()
        if self._in_hand:
            await asyncio.wait(self._in_hand, timeout=drain_s)

    async def _pause(self, seconds: float) -> None:
        """Until the time is over, or the consumer stops."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
