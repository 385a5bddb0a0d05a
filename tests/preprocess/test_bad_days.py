"""The job store dies, hangs and forgets while documents go in: none is lost, and the jobs come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.preprocess.housekeeping import LOST_S
from services.preprocess.messages import QUEUE
from tests.preprocess.world import World, world
from tests.servers.redis import RedisServer


@pytest.fixture
def redis(redis_installed: None, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def here(tmp_path: Path, address: str, redis: RedisServer) -> AsyncIterator[World]:
    """Preprocess with its jobs in Redis."""
    async with world(tmp_path / "p", address, jobs_url=f"{redis.url}?timeout_s=0.3") as made:
        yield made


async def stored(here: World, count: int) -> None:
    """Return once so many documents can be found and no message is left."""
    async with asyncio.timeout(60):
        while len(await here.ids()) < count:
            await here.opened.broker.depth(QUEUE)
        while await here.opened.broker.depth(QUEUE):
            await here.ids()


async def test_documents_go_in_and_their_job_is_told(here: World) -> None:
    await here.worker.start()
    job = await here.ended(await here.send(*((f"d{n}", f"Text {n}.") for n in range(20))))
    assert (job["state"], job["done"], job["total"]) == ("done", 20, 20)
    assert "restored" not in job


async def test_a_flushed_redis_loses_no_document_and_the_job_ends(here: World, redis: RedisServer) -> None:
    job_id = await here.send(*((f"d{n}", f"Text {n}.") for n in range(20)))
    for n in range(5):
        await here.run(job_id, n)
    redis.flush()
    assert (await here.client.get(f"/jobs/{job_id}")).status_code == 404
    await here.run(job_id, 5)
    job = (await here.parts.jobs.get("default", job_id)).view()
    assert (job["state"], job["done"], job["total"], job["restored"]) == ("running", 1, 20, True)
    # The first five were handled before: their messages come no more.
    for n in range(6, 20):
        await here.run(job_id, n)
    house = here.worker.housekeeping
    for now in (0.0, LOST_S):
        await house.end_lost_jobs(now)
    job = (await here.parts.jobs.get("default", job_id)).view()
    assert (job["state"], job["done"], job["total"], job["unreported"]) == ("done", 20, 20, 5)
    assert len(await here.ids()) == 20


async def test_a_dead_redis_holds_the_worker_up_and_nothing_else(here: World, redis: RedisServer) -> None:
    before = await here.send(*((f"d{n}", f"Text {n}.") for n in range(10)))
    redis.kill()
    await here.worker.start()
    answer = await here.client.post("/documents", json={"documents": [{"id": "new", "text": "Sent meanwhile."}]})
    assert (answer.status_code, answer.json()["degraded"]) == (202, ["jobs"])
    assert (await here.client.get(f"/jobs/{before}")).status_code == 503
    assert (await here.client.get("/documents")).status_code == 200
    redis.start()
    await stored(here, 11)
    job = await here.ended(answer.json()["job_id"])
    assert (job["state"], job["done"], job["errors"]) == ("done", 1, [])
    assert await here.opened.broker.dead_letters(QUEUE) == []


async def test_a_redis_that_hangs_is_waited_for(here: World, redis: RedisServer) -> None:
    job_id = await here.send(*((f"d{n}", f"Text {n}.") for n in range(10)))
    redis.pause()
    await here.worker.start()
    assert (await here.client.get(f"/jobs/{job_id}")).status_code == 503
    redis.resume()
    await stored(here, 10)
    job = await here.ended(job_id)
    assert (job["state"], job["done"], job["total"], job["errors"]) == ("done", 10, 10, [])


async def test_a_cancel_is_seen_by_a_worker_elsewhere(
    here: World, tmp_path: Path, address: str, redis: RedisServer
) -> None:
    job_id = await here.send(("a", "One."), ("b", "Two."))
    async with world(tmp_path / "p", address, jobs_url=redis.url) as elsewhere:
        assert (await elsewhere.client.delete(f"/jobs/{job_id}")).json()["state"] == "cancelled"
    for n in range(2):
        await here.run(job_id, n)
    assert await here.ids() == []
    assert await here.parts.blobs.uris() == []
