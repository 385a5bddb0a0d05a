"""What every store of lists promises. A store's own test module subclasses ``EntriesContract`` and gives one."""

import asyncio
from collections.abc import Callable

import pytest

from ragline.entries import Entries
from ragline.errors import Unavailable
from tests.ragline.cache.contract import Clock

MakeEntries = Callable[..., Entries]
DAY_S = 86_400.0


async def listed(store: Entries, prefix: str) -> set[str]:
    return {key async for key in store.keys(prefix)}


async def fill(store: Entries, entry: bytes) -> None:
    for n in range(1_000):
        await store.append(f"{n}", entry, ttl_s=10, limit=1)


class EntriesContract:
    """Subclass it with ``make_entries()``, which gives an empty store."""

    async def test_entries_are_read_oldest_first(self, make_entries: MakeEntries) -> None:
        store = make_entries()
        for entry in (b"one", b"", b"\x00\xff", b"one"):
            await store.append("a", entry, ttl_s=DAY_S, limit=10)
        await store.append("b", b"other", ttl_s=DAY_S, limit=10)
        assert await store.read("a") == [b"one", b"", b"\x00\xff", b"one"]
        assert await store.read("b") == [b"other"]
        assert await store.read("c") == []
        await store.close()

    async def test_the_newest_stay(self, make_entries: MakeEntries) -> None:
        store = make_entries()
        for n in range(7):
            await store.append("a", str(n).encode(), ttl_s=DAY_S, limit=3)
        assert await store.read("a") == [b"4", b"5", b"6"]
        await store.append("a", b"7", ttl_s=DAY_S, limit=2)
        assert await store.read("a") == [b"6", b"7"]
        await store.close()

    async def test_what_was_deleted_is_gone(self, make_entries: MakeEntries) -> None:
        store = make_entries()
        await store.append("a", b"1", ttl_s=DAY_S, limit=3)
        assert await store.delete("a")
        assert not await store.delete("a")
        assert await store.read("a") == []
        await store.append("a", b"2", ttl_s=DAY_S, limit=3)
        assert await store.read("a") == [b"2"]
        await store.close()

    async def test_keys_are_found_by_how_they_begin(self, make_entries: MakeEntries) -> None:
        store = make_entries()
        names = {f"s:t:{n}" for n in range(700)}
        for key in (*names, "s:*:1", "s:tt:1", "r:t:1", "s:t\\:1", "s:[t]:1", "s:ü:1"):
            await store.append(key, b"x", ttl_s=DAY_S, limit=1)
        assert await listed(store, "s:t:") == names
        assert await listed(store, "s:*:") == {"s:*:1"}
        assert await listed(store, "s:[t]") == {"s:[t]:1"}
        assert await listed(store, "s:t\\") == {"s:t\\:1"}
        assert await listed(store, "s:ü") == {"s:ü:1"}
        assert await listed(store, "nothing") == set()
        await store.close()

    async def test_a_list_is_forgotten_when_its_time_is_over(self, make_entries: MakeEntries) -> None:
        store = make_entries()
        await store.append("long", b"1", ttl_s=DAY_S, limit=3)
        await store.append("short", b"1", ttl_s=0.001, limit=3)
        async with asyncio.timeout(20):
            while await store.read("short"):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.005)
        assert await listed(store, "") == {"long"}
        assert not await store.delete("short")
        await store.append("short", b"2", ttl_s=DAY_S, limit=3)
        assert await store.read("short") == [b"2"]
        await store.close()

    async def test_of_many_at_once_none_is_lost(self, make_entries: MakeEntries) -> None:
        one, two = make_entries(), make_entries()
        both = [one.append("a", str(n).encode(), ttl_s=DAY_S, limit=100) for n in range(25)]
        both += [two.append("b", str(n).encode(), ttl_s=DAY_S, limit=100) for n in range(25)]
        await asyncio.gather(*both, one.check(), two.check())
        assert sorted(map(int, await one.read("a"))) == list(range(25))
        assert sorted(map(int, await two.read("b"))) == list(range(25))
        await one.close()
        await two.close()


class LocalEntriesContract(EntriesContract):
    """For stores of this process' own clock and bound: ``make_entries(max_bytes=…)`` runs on ``clock``."""

    async def test_an_append_renews_the_time(self, make_entries: MakeEntries, clock: Clock) -> None:
        store = make_entries(clock=clock)
        await store.append("a", b"1", ttl_s=10, limit=3)
        clock.now += 9
        await store.append("a", b"2", ttl_s=10, limit=3)
        clock.now += 9
        assert await store.read("a") == [b"1", b"2"]
        clock.now += 2
        assert await store.read("a") == []
        await store.close()

    async def test_a_full_store_refuses_until_something_expires(
        self, make_entries: MakeEntries, clock: Clock
    ) -> None:
        store = make_entries(max_bytes=200_000, clock=clock)
        with pytest.raises(Unavailable, match="max_mb"):
            await fill(store, b"x" * 5_000)
        kept = await listed(store, "")
        assert 5 < len(kept) < 50
        assert await store.read("0") == [b"x" * 5_000]
        assert await store.read(f"{len(kept)}") == []
        clock.now += 11
        await store.append("new", b"x" * 5_000, ttl_s=10, limit=1)
        assert await listed(store, "") == {"new"}
        await store.close()
