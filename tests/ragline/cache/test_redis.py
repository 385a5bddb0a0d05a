"""The cache in Redis: the contract of all caches, and every way in which a Redis can be away."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ragline import cache as caches
from ragline.cache import Cache
from ragline.cache.redis import MAX_KEYS, RedisCache
from ragline.settings import SettingsError
from tests.ragline.cache.contract import CacheContract, MakeCache
from tests.servers.redis import Cluster, RedisServer, Sentinels

Open = Callable[..., Cache]
HIDDEN = "hush"


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens caches with a prefix of the test's own, and closes them."""
    made: list[Cache] = []
    prefix = uuid.uuid4().hex

    def open_cache(url: str, **options: object) -> Cache:
        options = {"prefix": f"{prefix}:", "timeout_s": 10, **options}
        made.append(caches.open(f"{url}?{'&'.join(f'{name}={value}' for name, value in options.items())}"))
        return made[-1]

    yield open_cache
    for each in made:
        await each.close()


@pytest.fixture
def own_redis(redis_installed: None, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may end."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture(scope="module")
def cluster(redis_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


async def until_back(cache: Cache) -> None:
    """Use the cache until its breaker has found that Redis is there."""
    assert isinstance(cache, RedisCache)
    async with asyncio.timeout(30):
        while True:
            await cache.get_many(["probe"])
            if cache.server.breaker.closed:
                return
            await asyncio.sleep(0.02)


async def until_missed(cache: Cache, key: str) -> None:
    """Wait until an entry has gone."""
    async with asyncio.timeout(30):
        while True:
            if await cache.get_many([key]) == [None]:
                return
            await asyncio.sleep(0.001)


class TestRedisCache(CacheContract):
    @pytest.fixture
    def make_cache(self, redis_server: RedisServer) -> MakeCache:
        return lambda: caches.open(f"{redis_server.url}/0?prefix={uuid.uuid4().hex}:&timeout_s=10")


class TestRedisCluster(CacheContract):
    @pytest.fixture
    def make_cache(self, cluster: Cluster) -> MakeCache:
        return lambda: caches.open(f"{cluster.url}?prefix={uuid.uuid4().hex}:&timeout_s=10")


async def test_entries_lie_under_the_prefix_and_end(redis_server: RedisServer, opened: Open) -> None:
    cache = opened(redis_server.url, prefix="mine:", ttl_s=100)
    await cache.set_many({"a": b"\x00\xff"})
    await cache.set_many({"b": b"2"}, ttl_s=10)
    assert 90_000 < int(redis_server.say("PTTL", "mine:a")) <= 100_000
    assert 9_000 < int(redis_server.say("PTTL", "mine:b")) <= 10_000
    other = opened(redis_server.url, prefix="theirs:")
    assert await other.get_many(["a", "b"]) == [None, None]


async def test_an_entry_and_a_claim_expire(redis_server: RedisServer, opened: Open) -> None:
    cache = opened(redis_server.url)
    await cache.set_many({"a": b"1"}, ttl_s=0.001)
    await until_missed(cache, "a")
    assert await cache.claim("work", 0.001)
    await until_missed(cache, "claim:work")
    assert await cache.claim("work", 60)
    assert not await cache.claim("work", 60)


async def test_a_claim_is_known_to_all_and_only_its_owner_frees_it(
    redis_server: RedisServer, opened: Open
) -> None:
    one, other = opened(redis_server.url), opened(redis_server.url)
    assert await one.claim("work", 60)
    assert not await other.claim("work", 60)
    await other.release("work")
    assert not await other.claim("work", 60)
    await one.release("work")
    assert await other.claim("work", 60)


async def test_large_batches_are_split(redis_server: RedisServer, opened: Open) -> None:
    cache = opened(redis_server.url)
    items = {f"key {n}": random.randbytes(40_000) for n in range(2 * MAX_KEYS // 5)}
    await cache.set_many(items)
    assert await cache.get_many(list(items)) == list(items.values())


async def test_nobody_there_is_an_empty_cache(opened: Open, unused_url: str) -> None:
    cache = opened(unused_url)
    await cache.set_many({"a": b"1"})
    assert await cache.get_many(["a", "b"]) == [None, None]
    await cache.delete_many(["a"])
    assert await cache.claim("work", 60)
    assert await cache.claim("work", 60)
    await cache.release("work")


@pytest.fixture
def unused_url(tmp_path: Path) -> str:
    """Of a server that is not started."""
    return RedisServer(tmp_path).url


async def test_a_paused_redis_costs_one_timeout(own_redis: RedisServer, opened: Open) -> None:
    cache = opened(own_redis.url, timeout_s=0.3)
    await cache.set_many({"a": b"1"})
    own_redis.pause()
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers = await asyncio.gather(*(cache.get_many([f"key {n}" for n in range(5 * MAX_KEYS)]) for _ in range(50)))
    assert all(set(answer) == {None} for answer in answers)
    one_timeout = loop.time() - began
    assert one_timeout < 25  # not one for each of 250 round trips, which is 75 s
    assert isinstance(cache, RedisCache)
    assert not cache.server.breaker.closed
    own_redis.resume()
    await until_back(cache)
    assert await cache.get_many(["a"]) == [b"1"]


async def test_a_restart_is_survived(own_redis: RedisServer, opened: Open) -> None:
    cache = opened(own_redis.url)
    await cache.set_many({"a": b"1"})
    own_redis.kill()
    assert await cache.get_many(["a"]) == [None]
    assert await cache.get_many(["a"]) == [None]
    own_redis.start()
    await until_back(cache)
    await cache.set_many({"a": b"2"})
    assert await cache.get_many(["a"]) == [b"2"]


async def test_a_restart_between_two_calls_is_not_even_noticed(own_redis: RedisServer, opened: Open) -> None:
    cache = opened(own_redis.url)
    await asyncio.gather(*(cache.set_many({f"{n}": b"1"}) for n in range(20)))
    own_redis.kill()
    own_redis.start()
    await cache.set_many({"a": b"2"})
    assert await cache.get_many(["a"]) == [b"2"]


async def test_killed_flushed_and_paused_under_load_it_is_never_wrong(
    own_redis: RedisServer, opened: Open
) -> None:
    """Each writer's keys hold what it wrote last, or nothing; no call raises."""
    cache = opened(own_redis.url, timeout_s=0.2)
    ending = asyncio.Event()

    async def use(writer: int) -> int:
        rounds = 0
        while not ending.is_set():
            items = {f"{writer} {n}": f"{writer} {n} {rounds}".encode() for n in range(20)}
            await cache.set_many(items)
            for key, value in zip(items, await cache.get_many(list(items)), strict=True):
                kept = value.decode() if value else f"{key} 0"
                assert kept.startswith(f"{key} ")
                assert int(kept.rpartition(" ")[2]) <= rounds
            rounds += 1
            await asyncio.sleep(0)
        return rounds

    async def harm() -> None:
        for _ in range(3):
            for blow, remedy in ((own_redis.kill, own_redis.start), (own_redis.pause, own_redis.resume)):
                await until_back(cache)
                await asyncio.to_thread(own_redis.flush)
                await asyncio.to_thread(blow)
                await cache.get_many(["probe"])
                await asyncio.to_thread(remedy)
        ending.set()

    *rounds, _ = await asyncio.gather(*(use(n) for n in range(8)), harm())
    assert all(rounds)
    await until_back(cache)
    await cache.set_many({"a": b"1"})
    assert await cache.get_many(["a"]) == [b"1"]


async def test_calls_that_are_given_up_leave_no_answer_behind_for_the_next(
    redis_server: RedisServer, opened: Open
) -> None:
    cache = opened(redis_server.url, max_connections=2)
    await cache.set_many({f"{n}": str(n).encode() for n in range(100)})

    async def hurried(n: int) -> None:
        call = asyncio.create_task(cache.get_many([str(n)] * 3))
        for _ in range(random.randrange(12)):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    for n in range(100):
        await hurried(n)
        assert await cache.get_many([str(n)]) == [str(n).encode()]


async def test_a_refused_login_is_an_empty_cache(
    redis_installed: None, tmp_path: Path, opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    with RedisServer(tmp_path, options={"requirepass": "sesame"}) as server:
        wrong = opened(server.url.replace("//", "//:simsim@"))
        await wrong.set_many({"a": b"1"})
        assert await wrong.get_many(["a"]) == [None]
        said = capsys.readouterr().out
        assert "refuses the login" in said
        assert "simsim" not in said
        right = opened(server.url.replace("//", "//:sesame@"))
        await right.set_many({"a": b"1"})
        assert await right.get_many(["a"]) == [b"1"]


async def test_a_full_redis_drops_writes_and_still_reads(
    redis_installed: None, tmp_path: Path, opened: Open
) -> None:
    with RedisServer(tmp_path, options={"maxmemory": "4mb", "maxmemory-policy": "noeviction"}) as server:
        cache = opened(server.url)
        await cache.set_many({"a": b"1"})
        many = {f"{n}": b"x" * 10_000 for n in range(800)}
        await cache.set_many(many)
        assert await cache.get_many(["a"]) == [b"1"]
        assert None in await cache.get_many(list(many))
        await cache.delete_many(list(many))
        await cache.set_many({"b": b"2"})
        assert await cache.get_many(["b"]) == [b"2"]


async def test_a_failover_is_followed(redis_installed: None, tmp_path: Path, opened: Open) -> None:
    with Sentinels(tmp_path) as trio:
        cache = opened(trio.url, timeout_s=3)
        await cache.set_many({"a": b"1"})
        assert await cache.get_many(["a"]) == [b"1"]
        trio.primary.kill()
        async with asyncio.timeout(60):
            while await cache.get_many(["b"]) != [b"2"]:
                await cache.set_many({"b": b"2"})
                await asyncio.sleep(0.05)
        assert trio.replica.say("GET", f"{cache.server.prefix}b").strip() == "2"  # type: ignore[attr-defined]


async def test_a_cluster_goes_on_as_far_as_its_nodes_do(
    redis_installed: None, tmp_path: Path, opened: Open
) -> None:
    with Cluster(tmp_path) as nodes:
        cache = opened(nodes.url, timeout_s=3)
        items = {f"{n}": b"x" for n in range(50)}
        await cache.set_many(items)
        assert await cache.get_many(list(items)) == [b"x"] * 50
        nodes.nodes[1].kill()
        assert len(await cache.get_many(list(items))) == 50
        nodes.nodes[1].start()
        async with asyncio.timeout(30):
            while None in await cache.get_many(list(items)):
                await cache.set_many(items)
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://", "names no host"),
        ("redis://host:0", "names no host"),
        ("redis://host:port", "names no host"),
        ("redis://host/zero", "number of a database"),
        ("redis://host/0/1", "number of a database"),
        ("redis://one,two", "names several hosts"),
        ("redis+sentinel://host", "names no group"),
        ("redis+cluster://host/1", "nothing belongs there"),
        ("redis://host?timeout_s=0", "timeout_s"),
        ("redis://host?ttl_s=-1", "ttl_s"),
        ("redis://host?max_mb=5", "no option 'max_mb'; it has timeout_s"),
        (f"redis://me:{HIDDEN}@host?max_mb=5&max_mb=6", "twice"),
    ],
)
def test_a_bad_url_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as caught:
        caches.open(url)
    assert HIDDEN not in str(caught.value)
