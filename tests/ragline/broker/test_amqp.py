"""The queue in RabbitMQ: the contract of all brokers, and what only this one has."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from ragline import broker as brokers
from ragline.broker import Message, NewMessage, Poison
from ragline.broker._amqp_dead import walking
from ragline.broker._amqp_messages import Letter
from ragline.broker._amqp_queues import Policy
from ragline.broker._amqp_session import Session
from ragline.broker.amqp import AmqpBroker, address
from ragline.errors import Overloaded, TooLarge, Unavailable
from ragline.settings import SettingsError
from tests.ragline.broker.contract import BrokerContract
from tests.ragline.broker.inbox import QUEUE, Inbox, MakeUrl, letters, until, until_dead, until_depth, until_empty
from tests.servers.rabbitmq import USER, RabbitmqServer

HIDDEN = "hush"


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex}-"


@pytest.fixture
def make_url(rabbitmq_server: RabbitmqServer, prefix: str) -> MakeUrl:
    return lambda **options: f"{rabbitmq_server.url}?{urlencode({'prefix': prefix, **options})}"


class TestAmqpBroker(BrokerContract):
    keeps_order_over_retries = False

    @pytest.fixture
    def make_url(self, make_url: MakeUrl) -> MakeUrl:
        return make_url


@pytest.fixture
async def broker(rabbitmq_server: RabbitmqServer, prefix: str) -> AsyncIterator[AmqpBroker]:
    policy = Policy(
        max_messages=10,
        max_dead=3,
        max_attempts=2,
        max_deaths=1,
        retry_s=0.01,
        drain_s=0.01,
        prefix=prefix,
    )
    opened = AmqpBroker(address(rabbitmq_server.url), policy)
    yield opened
    await opened.close()


@asynccontextmanager
async def channel_to(server: RabbitmqServer) -> AsyncIterator[tuple[AbstractConnection, AbstractChannel]]:
    """A client that knows nothing of us."""
    connection = await aio_pika.connect(server.url)
    try:
        channel = connection.channel(on_return_raises=True)
        await channel.initialize()
        yield connection, await channel.get_underlay_channel()
    finally:
        await connection.close()


async def fail(_message: Message) -> None:
    raise ValueError("no")


async def refuse(_message: Message) -> None:
    raise Poison("no")


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"headers": {"ragline-attempts": "many", "ragline-key": bytearray(b"\xff"), "ragline-copy": None}},
        {"headers": {"ragline-attempts": -3, "ragline-key": 7, "x-delivery-count": "two"}},
        {"message_id": "their own", "content_type": "text/plain", "priority": 3, "expiration": "600000"},
        {"headers": {"traceparent": "00-1-2-01", "deep": {"table": [1, 2.5]}}, "delivery_mode": 1},
    ],
)
async def test_a_foreign_message_is_delivered_retried_and_parked(
    broker: AmqpBroker, rabbitmq_server: RabbitmqServer, properties: dict[str, Any]
) -> None:
    inbox = Inbox(fail)
    await broker.consume(QUEUE, inbox, concurrency=1)
    assert await broker.depth(QUEUE) == 0
    async with channel_to(rabbitmq_server) as (_, channel):
        await channel.basic_publish(
            b"\xff\x00", routing_key=broker.queues.name(QUEUE), properties=spec.Basic.Properties(**properties)
        )
    await inbox.wait(2)
    assert [(message.body, message.attempt) for message in inbox.messages] == [(b"\xff\x00", 1), (b"\xff\x00", 2)]
    assert len({message.id for message in inbox.messages}) == 1
    await until_dead(broker, 1)
    (letter,) = await broker.dead_letters(QUEUE)
    assert (letter.id, letter.attempts, letter.reason) == (inbox.messages[0].id, 2, "ValueError: no")


async def test_equal_foreign_messages_are_all_handled(broker: AmqpBroker, rabbitmq_server: RabbitmqServer) -> None:
    inbox = Inbox()
    await broker.depth(QUEUE)
    async with channel_to(rabbitmq_server) as (_, channel):
        for _ in range(3):
            await channel.basic_publish(b"again", routing_key=broker.queues.name(QUEUE))
    await broker.consume(QUEUE, inbox, concurrency=2)
    await inbox.wait(3)


async def test_what_a_foreigner_puts_into_the_dead_letters_is_listed_and_replayed(
    broker: AmqpBroker, rabbitmq_server: RabbitmqServer
) -> None:
    await broker.depth(QUEUE)
    async with channel_to(rabbitmq_server) as (_, channel):
        await channel.basic_publish(b"who?", routing_key=broker.queues.dead(QUEUE))
    await until_dead(broker, 1)
    (letter,) = await broker.dead_letters(QUEUE)
    assert (letter.body, letter.key, letter.attempts, letter.reason) == (b"who?", "", 0, "not known")
    assert await broker.replay(QUEUE, [letter.id]) == 1
    inbox = Inbox()
    await broker.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(1)


async def test_simple_foreign_headers_stay_with_a_message(
    broker: AmqpBroker, rabbitmq_server: RabbitmqServer
) -> None:
    await broker.depth(QUEUE)
    await broker.consume(QUEUE, refuse, concurrency=1)
    async with channel_to(rabbitmq_server) as (_, channel):
        properties = spec.Basic.Properties(headers={"traceparent": "00-1-2-01"}, content_type="text/plain")
        await channel.basic_publish(b"x", routing_key=broker.queues.name(QUEUE), properties=properties)
        await until_dead(broker, 1)
        parked = await channel.basic_get(broker.queues.dead(QUEUE))
    assert parked.header.properties.content_type == "text/plain"
    headers = parked.header.properties.headers
    assert headers is not None
    assert headers["traceparent"] == "00-1-2-01"
    assert headers["ragline-reason"] == "no"


async def test_a_message_that_outlives_too_many_consumers_is_parked(
    broker: AmqpBroker, rabbitmq_server: RabbitmqServer
) -> None:
    """max_deaths is 1, so the second death is one too many."""
    await broker.publish(QUEUE, letters("deadly", key="k"))
    for _death in range(2):
        async with channel_to(rabbitmq_server) as (_, channel):
            got = asyncio.Event()

            async def die(_message: DeliveredMessage, got: asyncio.Event = got) -> None:
                got.set()

            await channel.basic_consume(broker.queues.name(QUEUE), die)
            await got.wait()
    await until_depth(broker, 1)
    inbox = Inbox()
    await broker.consume(QUEUE, inbox, concurrency=1)
    await until_dead(broker, 1)
    (letter,) = await broker.dead_letters(QUEUE)
    assert inbox.messages == []
    assert (letter.key, letter.attempts) == ("k", 2)
    assert "died 2 times" in letter.reason
    assert await broker.replay(QUEUE) == 1
    await inbox.wait(1)


async def fill(broker: AmqpBroker) -> None:
    """Publish past all counting, until the server itself refuses; it may notice a little late that it is full."""

    async def is_refused() -> bool:
        try:
            await broker.send(QUEUE, broker.queues.name(QUEUE), [Letter(uuid.uuid4().hex, b"")])
        except Overloaded:
            return True
        return False

    await until(is_refused)


async def test_the_server_itself_refuses_what_is_far_over_the_bound(broker: AmqpBroker) -> None:
    """Publishers may count at the same time; 10 is what each of them lets in, 20 what the server takes."""
    await fill(broker)
    assert await broker.depth(QUEUE) >= 20


async def test_dead_letters_are_bounded_too(broker: AmqpBroker) -> None:
    await broker.publish(QUEUE, letters("bad", "worse", "worst"))
    await broker.consume(QUEUE, refuse, concurrency=1)
    await until_dead(broker, 3)

    async def is_refused() -> bool:  # what was counted a second ago may still hold
        try:
            await broker.publish(QUEUE, letters("more"))
        except Overloaded as error:
            assert "replay or purge" in error.detail  # noqa: PT017
            return True
        return False

    await until(is_refused)
    await broker.purge(QUEUE)
    await broker.publish(QUEUE, letters("more"))


async def test_what_could_never_fit_is_refused_as_too_large(broker: AmqpBroker) -> None:
    with pytest.raises(TooLarge, match="max_messages"):
        await broker.publish(QUEUE, letters(*"abcdefghijk"))
    with pytest.raises(TooLarge, match="max_message_mb"):
        await broker.publish(QUEUE, [NewMessage(b"x" * 16_000_001)])
    await broker.publish(QUEUE, [])
    assert await broker.depth(QUEUE) == 0


async def test_large_messages_go_through(broker: AmqpBroker) -> None:
    inbox = Inbox()
    bodies = [bytes([n]) * 7_000_000 for n in range(3)]
    await broker.consume(QUEUE, inbox, concurrency=1)
    await broker.publish(QUEUE, [NewMessage(body) for body in bodies])
    await inbox.wait(3)
    assert [message.body for message in inbox.messages] == bodies


async def test_a_queue_made_under_other_settings_is_used_as_it_is(
    broker: AmqpBroker, rabbitmq_server: RabbitmqServer, prefix: str
) -> None:
    await broker.publish(QUEUE, letters("before"))
    other = AmqpBroker(address(rabbitmq_server.url), Policy(max_messages=99, retry_s=3, prefix=prefix))
    inbox = Inbox()
    await other.consume(QUEUE, inbox, concurrency=1)
    await other.publish(QUEUE, letters("after"))
    await inbox.wait(2)
    await other.close()
    assert inbox.bodies == ["before", "after"]


async def test_queues_that_somebody_deletes_are_made_again(
    broker: AmqpBroker, rabbitmq_server: RabbitmqServer
) -> None:
    for call in (broker.depth(QUEUE), broker.publish(QUEUE, letters("a")), broker.dead_letters(QUEUE)):
        await call
        async with channel_to(rabbitmq_server) as (_, channel):
            for name in (broker.queues.name(QUEUE), broker.queues.dead(QUEUE)):
                await channel.queue_delete(name)
    assert await broker.depth(QUEUE) == 0
    await broker.publish(QUEUE, letters("b"))
    assert await broker.depth(QUEUE) == 1


async def test_a_consumer_goes_on_when_somebody_has_deleted_its_queue(
    broker: AmqpBroker, rabbitmq_server: RabbitmqServer
) -> None:
    inbox = Inbox()
    await broker.publish(QUEUE, letters("before"))
    await broker.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(1)
    await until_empty(broker)
    async with channel_to(rabbitmq_server) as (_, channel):
        await channel.queue_delete(broker.queues.name(QUEUE))

    async def is_back() -> bool:
        try:
            async with channel_to(rabbitmq_server) as (_, channel):
                found = await channel.queue_declare(broker.queues.name(QUEUE), passive=True)
        except ChannelNotFoundEntity:
            return False
        return found.consumer_count == 1

    await until(is_back)
    await broker.publish(QUEUE, letters("after"))
    await inbox.wait(2)


async def test_a_session_notices_that_the_server_has_forgotten_it(broker: AmqpBroker) -> None:
    await broker.incoming_queues.ensure(QUEUE)
    channel = await broker.incoming.channel()
    session = Session(broker.incoming, broker.incoming_queues, QUEUE, channel)
    await session.receive(1, lambda *_: None)
    await channel.basic_cancel(session._consumer)
    async with asyncio.timeout(60):
        assert "cancelled" in await session.until_over(asyncio.Event(), look_s=0.05)
    await session.close()


async def test_a_replay_that_dies_midway_loses_nothing_and_keeps_the_order(broker: AmqpBroker) -> None:
    for body in "abc":
        await broker.send(QUEUE, broker.queues.dead(QUEUE), [Letter(body, body.encode()).parked("no")])
    async with walking(broker._link("test"), broker.queues.dead(QUEUE)) as walk:
        async for part in walk.letters():
            await broker.send(QUEUE, broker.queues.name(QUEUE), [part[0].letter.fresh()])
    assert [letter.body for letter in await broker.dead_letters(QUEUE)] == [b"a", b"b", b"c"]
    assert await broker.replay(QUEUE) == 3
    assert await broker.depth(QUEUE) == 4
    inbox = Inbox()
    await broker.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(3)
    await until_empty(broker)
    assert inbox.bodies == ["a", "b", "c"]  # the second copy of the first is known to be one


async def test_a_replay_into_a_full_queue_leaves_the_letters_where_they_are(broker: AmqpBroker) -> None:
    parked = [Letter(str(n), b"").parked("no") for n in range(5)]
    await broker.send(QUEUE, broker.queues.dead(QUEUE), parked)
    await fill(broker)
    with pytest.raises(Overloaded):
        await broker.replay(QUEUE)
    assert len(await broker.dead_letters(QUEUE)) == 5


async def test_many_dead_letters_are_listed_in_parts_and_in_order(
    rabbitmq_server: RabbitmqServer, prefix: str
) -> None:
    broker = AmqpBroker(address(rabbitmq_server.url), Policy(prefix=prefix))
    parked = [Letter(str(n), b"").parked("no") for n in range(1200)]
    await broker.send(QUEUE, broker.queues.dead(QUEUE), parked)
    for _ in range(2):
        listed = await broker.dead_letters(QUEUE, limit=1100)
        assert [letter.id for letter in listed] == [str(n) for n in range(1100)]
    assert await broker.purge(QUEUE, ["3", "1199", "none"]) == 2
    assert [letter.id for letter in await broker.dead_letters(QUEUE, 5)] == ["0", "1", "2", "4", "5"]
    assert await broker.purge(QUEUE) == 1198
    await broker.close()


async def test_deep_in_the_queue_a_prefix_keeps_suites_apart(rabbitmq_server: RabbitmqServer) -> None:
    one, two = (brokers.open(f"{rabbitmq_server.url}?prefix={uuid.uuid4().hex}.") for _ in range(2))
    await one.publish(QUEUE, letters("mine"))
    assert (await one.depth(QUEUE), await two.depth(QUEUE)) == (1, 0)
    await one.close()
    await two.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("amqp://", "names no host"),
        ("amqp://LOGIN@host:port/", "names no host and port"),
        ("amqp://LOGIN@host?retries=3", "no option 'retries'"),
        ("amqp://LOGIN@host?max_attempts=0", "max_attempts"),
        ("amqp://LOGIN@host?prefix=a/b", "prefix"),
        ("amqp://LOGIN@host?prefix=a&prefix=b", "twice"),
        ("amqps://LOGIN@host?cafile=/no/such.pem", "cafile"),
    ],
)
def test_a_bad_url_is_one_sentence_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as caught:
        brokers.open(url.replace("LOGIN", f"user:{HIDDEN}"))
    assert HIDDEN not in str(caught.value)


async def test_a_wrong_password_is_told_apart(rabbitmq_server: RabbitmqServer) -> None:
    broker = brokers.open(rabbitmq_server.url.replace(f":{USER}@", ":wrong@"))
    with pytest.raises(Unavailable, match="refuses the login"):
        await broker.depth(QUEUE)
    await broker.close()
