"""Jobs in Redis: the contract over one server and a Cluster, and what happens when it dies, hangs or forgets."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ragline import cache
from ragline.errors import NotFound, Unavailable
from ragline.settings import SettingsError
from services.preprocess import job_stores
from services.preprocess.job_stores import JobStore
from services.preprocess.jobs import State
from tests.preprocess.job_stores.contract import JobStoreContract, MakeStore, documents, head, numbers, part, work
from tests.servers.redis import Cluster, RedisServer


@pytest.fixture(params=["alone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: RedisServer | Cluster = request.getfixturevalue(
        {"alone": "redis_server", "cluster": "cluster"}[request.param]
    )
    return f"{server.url}?prefix={uuid.uuid4().hex}:&timeout_s=20"


@pytest.fixture(scope="module")
def cluster(redis_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
async def make_store(url: str) -> AsyncIterator[MakeStore]:
    made: list[JobStore] = []

    def make() -> JobStore:
        made.append(job_stores.open(url, ttl_s=60))
        return made[-1]

    yield make
    for store in made:
        await store.close()


class TestRedis(JobStoreContract):
    """The contract over Redis."""


@pytest.fixture
def own(redis_installed: None, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def jobs(own: RedisServer) -> AsyncIterator[JobStore]:
    store = job_stores.open(f"{own.url}?timeout_s=0.3", ttl_s=60)
    yield store
    await store.close()


async def test_only_ended_jobs_have_a_time_to_live(own: RedisServer, jobs: JobStore) -> None:
    job = head(total=1)
    await jobs.create(job, documents(job))
    await jobs.begin(work(job))
    await jobs.expand(work(job), 2)
    await jobs.finish(part(job, 1, "x"), State.FAILED, "Bad.")
    names = [f"ragline:{{{job.id}}}:{kind}" for kind in ("head", "docs", "errors", "parts:0")]
    assert {own.say("TTL", name).strip() for name in names} == {"-1"}
    await jobs.park(work(job), "Away.")
    assert 0 < int(own.say("TTL", names[0])) <= 60
    await jobs.begin(work(job))
    assert {own.say("TTL", name).strip() for name in names} == {"-1"}
    await jobs.finish(work(job), State.DONE)
    assert 0 < int(own.say("TTL", names[0])) <= 60
    assert own.say("--scan").split() == names[:1]  # one key, that goes as a whole


async def test_a_redis_short_of_memory_forgets_ended_jobs_as_a_whole_and_no_open_one(own: RedisServer) -> None:
    own.say("CONFIG", "SET", "maxmemory", "4mb")
    own.say("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    jobs, answers = job_stores.open(f"{own.url}?timeout_s=20", ttl_s=600), cache.open(f"{own.url}?timeout_s=20")
    ended, opened = [head(f"ended-{n}") for n in range(40)], [head(f"open-{n}") for n in range(40)]
    for job in (*ended, *opened):
        await jobs.create(job, documents(job))
        await jobs.begin(work(job))
        await jobs.expand(work(job), 2)
        await jobs.finish(part(job, 1, "x"), State.FAILED, "Bad.")
        if job in ended:
            await jobs.finish(part(job, 2, "y"), State.DONE)
            await jobs.finish(work(job), State.DONE)
            await jobs.finish(work(job, 1), State.UNCHANGED)
    before = {job.id: (await jobs.get(job.tenant, job.id)).view() for job in (*ended, *opened)}
    for n in itertools.count():
        await answers.set_many({f"{n} {m}": b"x" * 50_000 for m in range(10)})
        left = own.say("--scan", "--pattern", "ragline:{ended-*").split()
        kept = [job for job in ended if f"ragline:{{{job.id}}}:head" in left]
        if len(kept) < 20:
            break
    for job in (*kept, *opened):
        assert (await jobs.get(job.tenant, job.id)).view() == before[job.id]
    for job in ended:  # its messages come once more
        again = job not in kept
        assert await jobs.begin(work(job)) is (State.RUNNING if again else State.DONE)
        assert await jobs.begin(work(job, 1)) is (State.RUNNING if again else State.UNCHANGED)
        await jobs.finish(work(job), State.DONE)
        await jobs.finish(work(job, 1), State.UNCHANGED)
        found = await jobs.get(job.tenant, job.id)
        assert (found.ended, found.total, found.restored) == (True, 2 if again else 3, again)
    assert {*await jobs.open_jobs()} == {job.id for job in opened}
    await jobs.close()
    await answers.close()


async def test_a_dead_redis_is_said_to_be_away_and_is_found_again(own: RedisServer, jobs: JobStore) -> None:
    job = head()
    await jobs.create(job, documents(job))
    own.kill()
    for ask in (jobs.get("default", job.id), jobs.begin(work(job)), jobs.open_jobs(), jobs.cancelled(job.id)):
        with pytest.raises(Unavailable):
            await ask
    with pytest.raises(Unavailable):
        await jobs.create(job, documents(job))
    own.start()
    assert await eventually_begun(jobs) is State.RUNNING  # it came back empty: the record begins anew
    assert (await jobs.get("default", job.id)).view()["restored"] is True


async def eventually_begun(jobs: JobStore) -> State:
    while True:
        try:
            return await jobs.begin(work(head()))
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_a_redis_that_hangs_is_away_within_a_timeout(own: RedisServer, jobs: JobStore) -> None:
    job = head()
    await jobs.create(job, documents(job))
    own.pause()
    with pytest.raises(Unavailable):
        await jobs.get("default", job.id)
    own.resume()
    assert await eventually_begun(jobs) is State.RUNNING
    assert "restored" not in (await jobs.get("default", job.id)).view()


async def test_a_listener_lives_through_a_flush(own: RedisServer, jobs: JobStore) -> None:
    job, states, begun = head(), list[str](), asyncio.Event()
    await jobs.create(job, documents(job))

    async def listen() -> None:
        async for each in jobs.watch("default", job.id):
            states.append(each.state)
            begun.set()

    listening = asyncio.create_task(listen())
    await begun.wait()
    own.flush()
    with pytest.raises(NotFound):
        await jobs.get("default", job.id)
    for n in range(2):
        await jobs.begin(work(job, n))
        await jobs.finish(work(job, n), State.DONE)
    await listening
    assert states[-1] == "done"
    assert await numbers(jobs, job) == ("done", 2, 2)


async def test_a_full_redis_is_as_good_as_away(own: RedisServer, jobs: JobStore) -> None:
    own.say("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(Unavailable, match="jobs"):
        await jobs.create(head(), documents(head()))


def test_a_bad_url_stops_the_start() -> None:
    with pytest.raises(SettingsError):
        job_stores.open("redis://host?nonsense=1", ttl_s=60)
