"""The same over RabbitMQ: two workers, messages that come twice, and a line that fails until it is given up."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest_asyncio

import ragline.broker
from ragline.broker import NewMessage
from ragline.errors import Internal
from services.generator.batches.manifest import QUEUE
from services.generator.batches.storage import Storage
from tests.generator.batches.places import Place, line, said
from tests.servers.rabbitmq import RabbitmqServer

QUERIES = [f"q{n}" for n in range(40)]
LINES = [line(query) for query in QUERIES]


@pytest_asyncio.fixture
async def place(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> AsyncIterator[Place]:
    url = f"{rabbitmq_server.url}?prefix={uuid.uuid4().hex}-&retry_s=0.05&max_retry_s=0.2&max_attempts=3"
    broker = ragline.broker.open(url)
    yield Place(Storage(f"file://{tmp_path}/batches", "GENERATOR_BATCH_URL"), broker)
    await broker.close()


async def test_every_line_is_answered_once(place: Place) -> None:
    batch = await place.accept(*LINES)
    async with place.working(), place.working():
        view = await place.ended(batch)
    assert (view["state"], view["done"], view["failed"]) == ("done", 40, 0)
    assert said(place.results(batch)) == QUERIES
    assert set(place.till.asked.values()) == {1}


async def test_messages_that_come_twice_double_no_line(place: Place) -> None:
    batch = await place.accept(*LINES)
    chunks = reversed(range(len(batch.chunks)))
    bodies = [orjson.dumps({"tenant": batch.tenant, "batch": batch.id, "chunk": chunk}) for chunk in chunks]
    await place.broker.publish(QUEUE, [NewMessage(body) for body in bodies])
    async with place.working(), place.working():
        await place.ended(batch)
    assert said(place.results(batch)) == QUERIES


async def test_a_worker_that_stops_leaves_the_rest_to_the_next(place: Place) -> None:
    batch = await place.accept(*LINES)
    async with place.working(hold_s=0.001):
        pass
    async with place.working(hold_s=0.001):
        await place.ended(batch)
    assert said(place.results(batch)) == QUERIES
    assert set(place.till.asked.values()) == {1}


async def test_a_line_that_goes_on_failing_becomes_an_error_at_last(place: Place) -> None:
    place.till.fails["q3"] = Internal()
    batch = await place.accept(*LINES)
    async with place.working():
        view = await place.ended(batch)
    assert (view["state"], view["failed"]) == ("done", 1)
    assert place.results(batch)[3]["error"]["status"] == 500
    assert place.till.asked["q3"] == 3
