"""RabbitMQ paused, cutting connections or taking messages back: nothing waits for long, nothing is done twice."""

import asyncio
import uuid
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from ragline import broker as brokers
from ragline.broker import Message, Unfinished
from ragline.broker.amqp import AmqpBroker
from ragline.errors import Unavailable
from tests.ragline.broker.inbox import QUEUE, Inbox, MakeUrl, letters, until, until_empty
from tests.servers.rabbitmq import RabbitmqServer

pytestmark = pytest.mark.stack
HELD_S = 3  # what this server lets a message be in hand; 30 minutes by default


@pytest.fixture(scope="module")
def server(rabbitmq_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqServer]:
    folder = tmp_path_factory.mktemp("rabbitmq")
    config, erlang = f"consumer_timeout = {HELD_S * 1000}", "-rabbit channel_tick_interval 300"
    with RabbitmqServer(folder, config=config, erlang=erlang) as running:
        yield running


@pytest.fixture
def make_url(server: RabbitmqServer) -> MakeUrl:
    prefix = f"{uuid.uuid4().hex}-"
    fixed = {"prefix": prefix, "answer_s": 2, "retry_s": 0.05, "max_retry_s": 0.05}
    return lambda **options: f"{server.url}?{urlencode({**fixed, **options})}"


async def hang(_message: Message) -> None:
    await asyncio.Event().wait()


async def test_a_consumer_stops_and_a_broker_closes_while_the_server_is_away(
    server: RabbitmqServer, make_url: MakeUrl
) -> None:
    broker, inbox = brokers.open(make_url(drain_s=0.01)), Inbox(hang)
    await broker.publish(QUEUE, letters("in hand"))
    consumer = await broker.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(1)
    server.pause()
    try:
        async with asyncio.timeout(30):
            await consumer.stop()
            await broker.close()
    finally:
        server.resume()
    second, inbox = brokers.open(make_url()), Inbox()
    await second.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(1)
    await second.close()


async def test_a_paused_server_is_not_waited_for(server: RabbitmqServer, make_url: MakeUrl) -> None:
    broker, inbox = brokers.open(make_url()), Inbox()
    await broker.publish(QUEUE, letters("before"))
    server.pause()
    try:
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable):
                await broker.publish(QUEUE, letters("while it sleeps"))
            with pytest.raises(Unavailable):
                await broker.publish(QUEUE, letters("while it sleeps"))
            with pytest.raises(Unavailable):
                await broker.depth(QUEUE)
    finally:
        server.resume()

    async def published() -> bool:
        try:
            await broker.publish(QUEUE, letters("after"))
        except Unavailable:
            return False
        return True

    await until(published)
    await broker.consume(QUEUE, inbox, concurrency=1)

    async def came() -> bool:
        return "after" in inbox.bodies

    await until(came)
    assert inbox.bodies[0] == "before"
    await broker.close()


async def test_what_was_handled_while_the_connection_was_cut_is_not_handled_again(
    server: RabbitmqServer, make_url: MakeUrl
) -> None:
    """The handler ends on a channel that is gone; the message comes again and is acknowledged then."""
    gate = asyncio.Event()

    async def hold(_message: Message) -> None:
        await gate.wait()

    broker, inbox = brokers.open(make_url()), Inbox(hold)
    assert isinstance(broker, AmqpBroker)
    name = broker.queues.name(QUEUE)
    await broker.publish(QUEUE, letters("a", "b"))
    await broker.consume(QUEUE, inbox, concurrency=2)
    await inbox.wait(2)
    await asyncio.to_thread(server.control, "close_all_connections", "as a test")

    async def given_back_and_taken_again() -> bool:
        listed = await asyncio.to_thread(server.control, "list_queues", "name", "messages_unacknowledged")
        return [name, "2"] in map(str.split, listed.splitlines())

    await until(given_back_and_taken_again)
    gate.set()
    await until_empty(broker)
    assert sorted(inbox.bodies) == ["a", "b"]
    await broker.close()


async def test_a_message_that_is_in_hand_for_too_long_is_still_handled_once(
    server: RabbitmqServer, make_url: MakeUrl
) -> None:
    """The server takes it back and closes the channel; its handler goes on, and nobody else is given it here."""

    async def dawdle(_message: Message) -> None:
        await asyncio.sleep(HELD_S + 1.5)

    broker, inbox = brokers.open(make_url()), Inbox(dawdle)
    await broker.publish(QUEUE, letters("long"))
    await broker.consume(QUEUE, inbox, concurrency=2)
    await inbox.wait(1)
    await until_empty(broker)
    assert inbox.bodies == ["long"]
    assert "delivery acknowledgement" in server.log
    await broker.close()


async def test_unfinished_work_outlives_what_a_message_may_be_in_hand(
    server: RabbitmqServer, make_url: MakeUrl
) -> None:
    before = server.log.count("delivery acknowledgement")
    seconds = [0.0]

    async def work_for_a_while(_message: Message) -> None:
        await asyncio.sleep(1)
        seconds[0] += 1
        if seconds[0] < HELD_S + 2:
            raise Unfinished

    broker, inbox = brokers.open(make_url(max_attempts=1)), Inbox(work_for_a_while)
    await broker.publish(QUEUE, letters("big"))
    await broker.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(HELD_S + 2)
    await until_empty(broker)
    assert await broker.dead_letters(QUEUE) == []
    assert server.log.count("delivery acknowledgement") == before
    await broker.close()
