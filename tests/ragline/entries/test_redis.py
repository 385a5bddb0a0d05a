"""Lists in Redis, alone and as a Cluster: the contract, and a server that goes away."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline import entries
from ragline.entries import Entries
from ragline.errors import Unavailable
from tests.ragline.entries.contract import DAY_S, EntriesContract, MakeEntries, fill, listed
from tests.servers.redis import Cluster, RedisServer

numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster(redis_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


class TestRedisEntries(EntriesContract):
    @pytest.fixture
    def make_entries(self, redis_server: RedisServer) -> MakeEntries:
        prefix = f"entries {next(numbers)}:"
        return lambda: entries.open(f"{redis_server.url}?prefix={prefix}&timeout_s=20")


class TestRedisCluster(EntriesContract):
    @pytest.fixture
    def make_entries(self, cluster: Cluster) -> MakeEntries:
        prefix = f"entries {next(numbers)}:"
        return lambda: entries.open(f"{cluster.url}?prefix={prefix}&timeout_s=20")


async def comes_back(store: Entries) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.check()
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_redis_that_goes_away_is_unavailable_and_comes_back(redis_installed: None, tmp_path: Path) -> None:
    with RedisServer(tmp_path, keep=True) as server:
        store = entries.open(f"{server.url}?timeout_s=0.3")
        await store.append("a", b"1", ttl_s=DAY_S, limit=3)
        server.pause()
        with pytest.raises(Unavailable, match="does not answer"):
            await store.append("a", b"lost", ttl_s=DAY_S, limit=3)
        with pytest.raises(Unavailable):
            await listed(store, "a")
        server.kill()
        with pytest.raises(Unavailable):
            await store.read("a")
        server.start()
        await comes_back(store)
        assert (await store.read("a"))[0] == b"1"
        await store.close()


async def test_a_redis_without_memory_left_is_unavailable(redis_installed: None, tmp_path: Path) -> None:
    with RedisServer(tmp_path, options={"maxmemory": "1mb", "maxmemory-policy": "noeviction"}) as server:
        store = entries.open(f"{server.url}?timeout_s=10")
        with pytest.raises(Unavailable, match="refuses"):
            await fill(store, b"x" * 100_000)
        await store.close()
