"""A worker dies before and after every step of a document: the next delivery makes it whole, once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.preprocess.messages import QUEUE
from tests.preprocess.test_ingest import LINES
from tests.preprocess.world import World

STEPS = (
    ("jobs", "begin"),
    ("record", "brief"),
    ("blobs", "read"),
    ("sandbox", "cut"),
    ("embedding", "embed"),
    ("record", "upsert"),
    ("blobs", "remove"),
    ("jobs", "finish"),
)
MORE_STEPS = (("jobs", "expand"), ("jobs", "cancelled"), ("record", "settle"))
"""Of a file of many."""


class Died(BaseException):
    """kill -9, as far as one process can play it: nothing after it is done, nothing catches it."""


def dying(work: Callable[..., Awaitable[Any]], *, after: bool, at: int) -> Callable[..., Awaitable[Any]]:
    """``work``, which dies at its ``at``-th call, before or after it is done."""
    calls = 0

    async def die(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at and not after:
            raise Died
        result = await work(*arguments, **options)
        if calls == at:
            raise Died
        return result

    return die


async def deliver(here: World, job_id: str, step: tuple[str, str], *, after: bool) -> None:
    """Hand the message over, each time dying one call of the step later, until it is done."""
    part, deaths = getattr(here.parts, step[0]), 0
    real = getattr(part, step[1])
    while True:
        setattr(part, step[1], dying(real, after=after, at=deaths + 1))
        try:
            return await here.run(job_id)
        except Died:
            deaths += 1
            assert deaths < 100, f"{step} never ends"
        finally:
            setattr(part, step[1], real)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_document_that_replaces_another(here: World, after: bool) -> None:
    for step in STEPS:
        name = step[1]
        await here.run(await here.send((name, "Old.")))
        job_id = await here.send((name, f"New, by {name}."))
        await deliver(here, job_id, step, after=after)
        assert await outcome(here, job_id) == ("done", 1, 1, [])
        held = (await here.parts.record.get("default", "default", name)).document
        assert (held.source, await here.parts.blobs.read(held.uri)) == (
            f"New, by {name}.",
            f"New, by {name}.".encode(),
        )
    assert len(await lying(here)) == len(STEPS)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_file_of_many_that_replaces_another(here: World, after: bool) -> None:
    here.ingest.concurrency = 1
    for step in (*STEPS, *MORE_STEPS):
        file, collection = "list.jsonl", step[1]
        await here.run(await here.send_files((file, LINES), collection=collection))
        newer = LINES.replace(b"First", b"Changed").replace(b'"z"', b'"new"')
        job_id = await here.send_files((file, newer), collection=collection)
        await deliver(here, job_id, step, after=after)
        assert await outcome(here, job_id) == ("done", 3, 3, []), step
        assert await here.ids(collection) == ["list.jsonl#2", "new", "x"], step
        held = (await here.parts.record.get("default", collection, "x")).document
        assert held.source.strip() == "Changed.", step
    assert await lying(here) == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_document_that_was_deleted_meanwhile(here: World, after: bool) -> None:
    for step in STEPS:
        job_id = await here.send(("a", f"One, by {step[1]}."))
        await here.documents.delete("default", "default", "a")
        await deliver(here, job_id, step, after=after)
        assert await outcome(here, job_id) == ("done", 1, 1, []), step
        assert await here.ids() == [], step
    assert await lying(here) == []


async def outcome(here: World, job_id: str) -> tuple[str, int, int, list[Any]]:
    """How a job ended."""
    view = (await here.parts.jobs.get("default", job_id)).view()
    return view["state"], view["done"], view["total"], view["errors"]


async def lying(here: World) -> list[str]:
    """What bytes there are once the queue is empty and was swept behind."""
    consumer = await here.opened.broker.consume(QUEUE, taken, concurrency=1)
    while await here.opened.broker.depth(QUEUE):
        await here.parts.jobs.open_jobs()
    await consumer.stop()
    await here.worker.housekeeping.sweep()
    return await here.parts.blobs.uris()


async def taken(_: object) -> None:
    """The message was handled."""
