"""Lists in a Redis that is short of memory, beside caches: these go, and no list that was acknowledged."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline import cache, entries
from ragline.entries import Entries
from ragline.errors import Unavailable
from tests.ragline.entries.contract import DAY_S, listed
from tests.ragline.entries.earlier import append_as_earlier
from tests.servers.redis import RedisServer

EVICTED = 300  # cache entries, until which a test goes on


@pytest.fixture
def server(redis_installed: None, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with the policy of docker-compose.yml, and less memory."""
    with RedisServer(tmp_path, options={"maxmemory": "6mb", "maxmemory-policy": "volatile-lru"}) as running:
        yield running


def evicted(server: RedisServer) -> int:
    found = dict(line.split(":", 1) for line in server.say("INFO", "stats").splitlines() if ":" in line)
    return int(found["evicted_keys"])


async def test_caches_make_room_and_no_acknowledged_list_does(server: RedisServer) -> None:
    store, answers = entries.open(f"{server.url}?timeout_s=20"), cache.open(f"{server.url}?timeout_s=20")
    kept: dict[str, list[bytes]] = {}
    for n in itertools.count():
        # Sessions and feedback between cache entries: some are the least recently used of all.
        for key in (f"session:t:{n}", f"feedback:t:{n}", f"session:t:{n // 2}"):
            entry = f"{n} {key}".encode()
            await store.append(key, entry, ttl_s=DAY_S, limit=100)
            kept.setdefault(key, []).append(entry)
        await answers.set_many({f"answer {n} {m}": b"x" * 10_000 for m in range(10)})
        if n % 10 == 0 and evicted(server) > EVICTED:
            break
    assert None in await answers.get_many([f"answer {m} 0" for m in range(n)])
    assert {key: await store.read(key) for key in kept} == kept
    assert await listed(store, "") == kept.keys()
    await store.close()
    await answers.close()


async def test_lists_that_need_not_last_make_room_for_those_that_do(server: RedisServer) -> None:
    """Records of answers: nobody was promised one, and they are most of what there is."""
    store = entries.open(f"{server.url}?timeout_s=20")
    kept = []
    for n in itertools.count():
        await store.append(f"session:{n}", b"turn", ttl_s=DAY_S, limit=3)
        kept.append(f"session:{n}")
        for m in range(10):
            await store.append(f"record:{n}:{m}", b"x" * 3_000, ttl_s=DAY_S, limit=1, lasting=False)
        if evicted(server) > EVICTED:
            break
    assert await listed(store, "session:") == set(kept)
    assert len(await listed(store, "record:")) < 10 * len(kept)
    assert await store.read(f"record:{n}:9") == [b"x" * 3_000]
    await store.append("turns", b"one", ttl_s=DAY_S, limit=3, lasting=False)
    await store.append("turns", b"two", ttl_s=DAY_S, limit=3)
    assert server.say("TTL", "ragline:turns").strip() == "-1"
    await store.close()


async def fill(store: Entries) -> list[str]:
    """Lists until Redis takes no more; those that it took."""
    taken: list[str] = []
    while True:
        try:
            await store.append(f"{len(taken)}", b"x" * 20_000, ttl_s=DAY_S, limit=3)
        except Unavailable:
            return taken
        taken.append(f"{len(taken)}")


async def test_a_redis_full_of_lists_refuses_and_is_read_and_emptied(server: RedisServer) -> None:
    store = entries.open(f"{server.url}?timeout_s=20")
    taken = await fill(store)
    server.say("CONFIG", "SET", "maxmemory", "4mb")  # surely more than that by now
    assert await listed(store, "") == set(taken)
    for key in taken:
        assert await store.read(key) == [b"x" * 20_000]
    with pytest.raises(Unavailable, match=r"full .* Raise its maxmemory"):
        await store.append("0", b"x" * 20_000, ttl_s=DAY_S, limit=3)
    assert await store.read("0") == [b"x" * 20_000]
    await store.check()
    for key in taken[:20]:
        assert await store.delete(key)
    server.say("CONFIG", "SET", "maxmemory", "6mb")
    await store.append("new", b"1", ttl_s=DAY_S, limit=3)
    assert await listed(store, "") == {*taken[20:], "new"}
    await store.close()


async def test_a_list_of_an_earlier_release_is_read_where_no_memory_is_left(server: RedisServer) -> None:
    store = entries.open(f"{server.url}?timeout_s=20")
    taken = await fill(store)
    server.say("CONFIG", "SET", "maxmemory", "0")
    await append_as_earlier(server.url, "old", b"1", ttl_s=DAY_S)
    # Now what has a time to live stays, and nothing can be written.
    server.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.say("CONFIG", "SET", "maxmemory", "2mb")
    assert await listed(store, "") == {*taken, "old"}
    assert await store.read("old") == [b"1"]
    server.say("CONFIG", "SET", "maxmemory", "0")
    assert "old" in await listed(store, "")
    assert server.say("TTL", "ragline:old").strip() == "-1"
    assert await store.read("old") == [b"1"]
    await store.close()
