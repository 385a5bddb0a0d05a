"""When lists in Redis go: not before their time, unread after it, and some day in any case, whoever dies."""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from ragline import redis_client
from ragline.entries.redis import RedisEntries
from tests.ragline.entries.contract import DAY_S, listed
from tests.ragline.entries.earlier import append_as_earlier
from tests.servers.redis import Cluster, RedisServer

NEVER_S = 1e6  # between sweeps, where a test wants none
APPENDS = """
import asyncio, itertools, sys
from ragline import redis_client
from ragline.entries.redis import RedisEntries
async def main():
    store = RedisEntries(redis_client.open(sys.argv[1]), 0.1)
    for n in itertools.count():
        await asyncio.gather(*(store.append(f"{n} {m}", b"x", ttl_s=0.5, limit=3) for m in range(20)))
        print(n, flush=True)
asyncio.run(main())
"""
numbers = itertools.count()

Open = Callable[..., RedisEntries]


@pytest.fixture(scope="module")
def cluster(redis_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(params=["alone", "cluster"])
def servers(request: pytest.FixtureRequest) -> list[RedisServer]:
    """The nodes of one Redis."""
    if request.param == "cluster":
        nodes: list[RedisServer] = request.getfixturevalue("cluster").nodes
        return nodes
    return [request.getfixturevalue("redis_server")]


@pytest.fixture
def url(servers: list[RedisServer]) -> str:
    base = servers[0].url if len(servers) == 1 else servers[0].url.replace("redis:", "redis+cluster:")
    return f"{base}?prefix=time {next(numbers)}:&timeout_s=20"


@pytest.fixture
async def open_(url: str) -> AsyncIterator[Open]:
    made: list[RedisEntries] = []

    def open_(sweep_s: float = NEVER_S, at: str = url) -> RedisEntries:
        made.append(RedisEntries(redis_client.open(at), sweep_s))
        return made[-1]

    yield open_
    for each in made:
        await each.close()


async def names(url: str, servers: list[RedisServer]) -> set[str]:
    """The lists that are there, whoever may read them."""
    prefix = url.partition("prefix=")[2].partition("&")[0]
    found: set[str] = set()
    for server in servers:
        said = await asyncio.to_thread(server.say, "--scan", "--pattern", f"{prefix}*")
        found.update(name.removeprefix(prefix) for name in said.splitlines())
    return found - {"entries:swept"}


async def become(url: str, servers: list[RedisServer], wanted: set[str]) -> None:
    async with asyncio.timeout(60):
        while await names(url, servers) != wanted:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def end_ms(url: str, key: str, sooner_s: float = 0) -> int:
    """When a list ends, in ms since 1970; first it is made to end so much sooner, as if that time had passed."""
    server = redis_client.open(url)
    async with server.guard(20.0) as client:
        name = server.prefix + key
        last: bytes = await client.lindex(name, -1)
        end = int.from_bytes(last[10:16], "big") - round(sooner_s * 1000)
        await client.lset(name, -1, last[:10] + end.to_bytes(6, "big") + last[16:])
    await server.close()
    return end


async def now_ms(server: RedisServer) -> int:
    seconds, micros = (await asyncio.to_thread(server.say, "TIME")).split()
    return int(seconds) * 1000 + int(micros) // 1000


async def test_each_append_renews_the_time_and_what_is_over_begins_anew(url: str, open_: Open) -> None:
    store = open_()
    await store.append("a", b"1", ttl_s=1000, limit=3)
    await end_ms(url, "a", sooner_s=900)
    await store.append("a", b"2", ttl_s=1000, limit=3)
    await end_ms(url, "a", sooner_s=700)
    assert await store.read("a") == [b"1", b"2"]
    assert await listed(store, "") == {"a"}
    await end_ms(url, "a", sooner_s=300)
    assert await store.read("a") == []
    assert not await store.delete("a")
    await store.append("a", b"3", ttl_s=1000, limit=3)
    await end_ms(url, "a", sooner_s=1000)
    await store.append("a", b"4", ttl_s=1000, limit=3)
    assert await store.read("a") == [b"4"]
    await end_ms(url, "a", sooner_s=1000)
    assert await listed(store, "") == set()


async def test_the_clock_is_that_of_redis(
    redis_server: RedisServer, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = f"{redis_server.url}?prefix=clock {next(numbers)}:&timeout_s=20"
    store, before = open_(at=at), await now_ms(redis_server)
    monkeypatch.setattr("time.time", lambda: 1.0)
    await store.append("a", b"1", ttl_s=1000, limit=3)
    assert before <= await end_ms(at, "a") - 1_000_000 <= await now_ms(redis_server)
    assert await store.read("a") == [b"1"]


async def test_what_is_over_goes_though_its_writer_was_killed(
    url: str, servers: list[RedisServer], open_: Open
) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", APPENDS, url, stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout
    for _ in range(5):
        assert await asyncio.wait_for(writer.stdout.readline(), 60)
    writer.kill()
    await writer.wait()
    store = open_(sweep_s=0.1)
    await store.append("long", b"1", ttl_s=DAY_S, limit=3)
    await become(url, servers, {"long"})
    assert await store.read("long") == [b"1"]


async def test_of_several_that_sweep_at_once_none_takes_what_is_in_time(
    url: str, servers: list[RedisServer], open_: Open
) -> None:
    stores = [open_(sweep_s=0.005) for _ in range(3)]
    kept: dict[str, list[bytes]] = {}
    for n in range(100):
        key = f"long {n % 10}"
        entry = str(n).encode()
        await stores[n % 3].append(f"short {n}", b"x", ttl_s=0.001, limit=3)
        # Its first entries are over at once: each append begins it anew or renews it.
        await stores[n % 3].append(f"mixed {n % 10}", entry, ttl_s=0.001 if n < 50 else DAY_S, limit=100)
        await stores[n % 3].append(key, entry, ttl_s=DAY_S, limit=100)
        kept.setdefault(key, []).append(entry)
    await become(url, servers, {*kept, *(f"mixed {n}" for n in range(10))})
    for key, wanted in kept.items():
        assert await stores[0].read(key) == wanted
    for n in range(10):
        latest = [str(m).encode() for m in range(50, 100) if m % 10 == n]
        assert (await stores[1].read(f"mixed {n}"))[-5:] == latest


async def test_a_list_of_an_earlier_release_is_taken_over_by_an_append(url: str, open_: Open) -> None:
    for n in range(3):
        await append_as_earlier(url, "a", str(n).encode(), ttl_s=DAY_S)
    store = open_()
    assert await store.read("a") == [b"0", b"1", b"2"]
    await store.append("a", b"3", ttl_s=DAY_S, limit=3)
    assert await store.read("a") == [b"1", b"2", b"3"]
    assert await times_to_live(url, {"a"}) == {"a": -1}
    # A replica of the earlier release may write to it meanwhile.
    await append_as_earlier(url, "a", b"4", ttl_s=DAY_S)
    assert await store.read("a") == [b"1", b"2", b"3", b"4"]
    await store.append("a", b"5", ttl_s=DAY_S, limit=3)
    assert await store.read("a") == [b"3", b"4", b"5"]
    assert await times_to_live(url, {"a"}) == {"a": -1}
    await append_as_earlier(url, "b", b"1", ttl_s=DAY_S)
    assert await store.delete("b")
    assert await store.read("b") == []


async def test_lists_of_an_earlier_release_are_taken_over_by_a_sweep(url: str, open_: Open) -> None:
    keys = {f"feedback {n}" for n in range(5)}
    for key in keys:
        await append_as_earlier(url, key, b"x", ttl_s=DAY_S)
    store = open_(sweep_s=0.1)
    await store.check()  # sweeps begin with the first call
    async with asyncio.timeout(60):
        while await times_to_live(url, keys) != dict.fromkeys(keys, -1):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)
    assert await listed(store, "") == keys
    assert [await store.read(key) for key in keys] == [[b"x"]] * 5


async def times_to_live(url: str, keys: set[str]) -> dict[str, int]:
    """Seconds that Redis gives each; -1: no end."""
    server = redis_client.open(url)
    async with server.guard(20.0) as client:
        found = {key: await client.ttl(server.prefix + key) for key in keys}
    await server.close()
    return found


async def test_an_earlier_list_that_was_taken_over_keeps_its_time(redis_server: RedisServer, open_: Open) -> None:
    at = f"{redis_server.url}?prefix=earlier {next(numbers)}:&timeout_s=20"
    before = await now_ms(redis_server)
    await append_as_earlier(at, "a", b"1", ttl_s=1000)
    after = await now_ms(redis_server)
    store = open_(at=at)
    assert await listed(store, "a") == {"a"}
    assert before - 1 <= await end_ms(at, "a") - 1_000_000 <= after + 1
    await end_ms(at, "a", sooner_s=1000)
    assert await store.read("a") == []


async def test_what_others_keep_under_the_prefix_stays_as_it_is(
    url: str, servers: list[RedisServer], open_: Open
) -> None:
    server = redis_client.open(url)
    async with server.guard(20.0) as client:
        for key in ("plain", "timed"):
            await client.rpush(server.prefix + key, b"the work of somebody else")
        await client.expire(server.prefix + "timed", round(DAY_S))
        await client.set(server.prefix + "text", b"1")
    store = open_(sweep_s=0.01)
    await store.append("short", b"1", ttl_s=0.001, limit=1)
    await become(url, servers, {"plain", "timed", "text"})
    assert await listed(store, "") == set()
    async with server.guard(20.0) as client:
        assert await client.lrange(server.prefix + "timed", 0, -1) == [b"the work of somebody else"]
    await server.close()
    assert (await times_to_live(url, {"timed"}))["timed"] > 0
