"""RabbitMQ away or restarted: nothing confirmed is lost, and all goes on by itself."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest

from ragline import broker as brokers
from ragline.broker import Broker, Message
from ragline.errors import Unavailable
from tests.ragline.broker.inbox import QUEUE, Inbox, MakeUrl, letters, until, until_empty
from tests.servers.rabbitmq import RabbitmqServer

pytestmark = pytest.mark.stack
SETTLED_S = (
    2  # RabbitMQ 3.10 writes down late who leads a queue: one that is younger may come back without a leader
)


@pytest.fixture(scope="module")
def server(rabbitmq_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqServer]:
    away = RabbitmqServer(tmp_path_factory.mktemp("rabbitmq"))
    yield away
    away.kill()


@pytest.fixture
def make_url(server: RabbitmqServer) -> MakeUrl:
    prefix = f"{uuid.uuid4().hex}-"
    fixed = {"prefix": prefix, "answer_s": 2, "retry_s": 0.05, "max_retry_s": 0.05}
    return lambda **options: f"{server.url}?{urlencode({**fixed, **options})}"


class Load:
    """Publishes numbers one after the other, and knows which were confirmed and how often it was refused."""

    def __init__(self, broker: Broker) -> None:
        self.confirmed: list[int] = []
        self.refused: list[Unavailable] = []
        self._broker = broker
        self._next = 0

    async def run(self) -> None:
        while True:
            number, self._next = self._next, self._next + 1
            try:
                await self._broker.publish(QUEUE, letters(str(number), key=str(number % 5)))
            except Unavailable as error:
                self.refused.append(error)
                await asyncio.sleep(0.05)
            else:
                self.confirmed.append(number)

    async def has_confirmed(self, more: int) -> None:
        enough = len(self.confirmed) + more

        async def is_it() -> bool:
            return len(self.confirmed) >= enough

        await until(is_it)

    async def was_refused(self) -> None:
        async def is_it() -> bool:
            return bool(self.refused)

        await until(is_it)


@asynccontextmanager
async def running(load: Load) -> AsyncIterator[None]:
    task = asyncio.create_task(load.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def check_all_confirmed_came(load: Load, inbox: Inbox, broker: Broker) -> None:
    async def all_came() -> bool:
        return set(load.confirmed) <= set(map(int, inbox.bodies))

    await until(all_came)
    await until_empty(broker)
    assert await broker.dead_letters(QUEUE) == []


async def test_a_server_that_is_away_at_start_is_waited_for(server: RabbitmqServer, make_url: MakeUrl) -> None:
    await asyncio.to_thread(server.stop)
    broker, inbox = brokers.open(make_url()), Inbox()
    consumer = await broker.consume(QUEUE, inbox, concurrency=2)
    for call in (broker.publish(QUEUE, letters("no")), broker.depth(QUEUE), broker.dead_letters(QUEUE)):
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.retry_after_s
        assert str(server.port) not in caught.value.detail
    await asyncio.to_thread(server.start)

    async def published() -> bool:
        try:
            await broker.publish(QUEUE, letters("yes"))
        except Unavailable:
            return False
        return True

    await until(published)
    await inbox.wait(1)
    assert inbox.bodies == ["yes"]
    await consumer.stop()
    await broker.close()


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_nothing_confirmed_is_lost_when_the_server_restarts(
    server: RabbitmqServer, make_url: MakeUrl, end: str
) -> None:
    if server.process is None:
        await asyncio.to_thread(server.start)
    broker, consuming = brokers.open(make_url()), brokers.open(make_url())

    async def fail_sometimes(message: Message) -> None:
        if message.attempt == 1 and message.body.endswith(b"7"):
            raise ValueError("try again")
        if message.attempt == 1 and message.body.endswith(b"8"):
            await asyncio.sleep(0.1)

    inbox, load = Inbox(fail_sometimes), Load(broker)
    await consuming.consume(QUEUE, inbox, concurrency=8)
    async with running(load):
        await load.has_confirmed(200)
        await asyncio.sleep(SETTLED_S)
        await asyncio.to_thread(getattr(server, end))
        await load.was_refused()
        assert load.refused[0].retry_after_s
        with pytest.raises(Unavailable):
            await broker.depth(QUEUE)
        await asyncio.to_thread(server.start)
        await load.has_confirmed(200)
    await check_all_confirmed_came(load, inbox, consuming)
    await broker.close()
    await consuming.close()
