"""What every cache promises. A cache's own test module subclasses ``CacheContract`` and gives a cache."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragline.cache import Cache

MakeCache = Callable[..., Cache]
KEYS = st.sampled_from([f"key {n}" for n in range(6)])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.dictionaries(KEYS, st.binary(max_size=50)), st.none() | st.integers(1, 5)),
        st.tuples(st.just("delete"), st.lists(KEYS), st.none()),
        st.tuples(st.just("wait"), st.integers(1, 3), st.none()),
    ),
    max_size=12,
)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class CacheContract:
    """Subclass it with ``make_cache()``, which gives an empty cache."""

    async def test_what_was_set_is_got_in_the_order_asked(self, make_cache: MakeCache) -> None:
        cache = make_cache()
        await cache.set_many({"a": b"1", "b": b"", "c": b"\x00\xff"})
        assert await cache.get_many(["c", "missing", "a", "b", "a"]) == [b"\x00\xff", None, b"1", b"", b"1"]
        assert await cache.get_many([]) == []
        await cache.set_many({})
        await cache.close()

    async def test_the_last_value_counts(self, make_cache: MakeCache) -> None:
        cache = make_cache()
        await cache.set_many({"a": b"old"})
        await cache.set_many({"a": b"new"})
        assert await cache.get_many(["a"]) == [b"new"]
        await cache.close()

    async def test_a_deleted_key_is_a_miss(self, make_cache: MakeCache) -> None:
        cache = make_cache()
        await cache.set_many({"a": b"1", "b": b"2"})
        await cache.delete_many(["a", "unknown"])
        assert await cache.get_many(["a", "b"]) == [None, b"2"]
        await cache.close()

    async def test_thousands_of_keys_go_in_one_call(self, make_cache: MakeCache) -> None:
        cache = make_cache()
        items = {f"key {n}": str(n).encode() for n in range(3_000)}
        await cache.set_many(items)
        assert await cache.get_many(list(items)) == list(items.values())
        await cache.delete_many(list(items))
        assert await cache.get_many(list(items)) == [None] * 3_000
        await cache.close()

    async def test_of_many_that_claim_one_may_begin(self, make_cache: MakeCache) -> None:
        cache = make_cache()
        claims = await asyncio.gather(*(cache.claim("work", 60) for _ in range(20)))
        assert sum(claims) == 1
        assert await cache.claim("other work", 60)
        await cache.release("work")
        assert await cache.claim("work", 60)
        assert not await cache.claim("work", 60)
        await cache.close()

    async def test_a_claim_is_no_entry(self, make_cache: MakeCache) -> None:
        cache = make_cache()
        assert await cache.claim("a", 60)
        assert await cache.get_many(["a"]) == [None]
        await cache.set_many({"a": b"1"})
        await cache.release("a")
        await cache.release("never claimed")
        assert await cache.get_many(["a"]) == [b"1"]
        await cache.close()


class LocalCacheContract(CacheContract):
    """For caches of this process' own clock and bound: ``make_cache(max_bytes=…)`` runs on ``clock``."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    async def test_an_entry_expires(self, make_cache: MakeCache, clock: Clock) -> None:
        cache = make_cache()
        await cache.set_many({"short": b"1"}, ttl_s=10)
        await cache.set_many({"long": b"2"})
        clock.now += 9.9
        assert await cache.get_many(["short", "long"]) == [b"1", b"2"]
        clock.now += 0.2
        assert await cache.get_many(["short", "long"]) == [None, b"2"]
        await cache.set_many({"short": b"3"})
        clock.now += 1e6
        assert await cache.get_many(["short"]) == [b"3"]
        await cache.close()

    async def test_a_claim_runs_out(self, make_cache: MakeCache, clock: Clock) -> None:
        cache = make_cache()
        assert await cache.claim("work", 10)
        clock.now += 9.9
        assert not await cache.claim("work", 10)
        clock.now += 0.2
        assert await cache.claim("work", 10)
        await cache.close()

    async def test_room_is_made_by_forgetting_what_was_not_used(self, make_cache: MakeCache, clock: Clock) -> None:
        cache = make_cache(max_bytes=1_000_000)
        value = b"x" * 10_000
        for n in range(300):
            clock.now += 1
            await cache.set_many({f"key {n}": value})
            assert await cache.get_many(["key 0"]) == [value]
        kept = await cache.get_many([f"key {n}" for n in range(300)])
        assert 50 <= sum(found is not None for found in kept) <= 100
        assert kept[0] == value
        assert kept[1] is None
        assert kept[-1] == value
        await cache.close()

    async def test_what_is_larger_than_the_cache_is_not_kept(self, make_cache: MakeCache) -> None:
        cache = make_cache(max_bytes=1_000_000)
        await cache.set_many({"small": b"1"})
        await cache.set_many({"huge": b"x" * 1_000_001})
        assert await cache.get_many(["small", "huge"]) == [b"1", None]
        await cache.close()

    # Each subclass runs it with its own fixtures, and every example begins by emptying the keys it uses.
    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )
    @given(operations=OPERATIONS)
    async def test_it_behaves_as_a_dictionary_that_forgets_in_time(
        self, make_cache: MakeCache, clock: Clock, operations: list[tuple[str, object, int | None]]
    ) -> None:
        cache = make_cache()
        await cache.delete_many([f"key {n}" for n in range(6)])
        model: dict[str, tuple[bytes, float]] = {}
        for verb, given_, ttl_s in operations:
            if verb == "set" and isinstance(given_, dict):
                await cache.set_many(given_, ttl_s)
                expires = float("inf") if ttl_s is None else clock.now + ttl_s
                model |= {key: (value, expires) for key, value in given_.items()}
            elif verb == "delete" and isinstance(given_, list):
                await cache.delete_many(given_)
                for key in given_:
                    model.pop(key, None)
            elif isinstance(given_, int):
                clock.now += given_
            keys = [f"key {n}" for n in range(6)]
            expected = [model[key][0] if key in model and model[key][1] > clock.now else None for key in keys]
            assert await cache.get_many(keys) == expected
        await cache.close()
