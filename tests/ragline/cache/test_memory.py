"""The cache inside the process: the contract of all caches, and its bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline import cache as caches
from ragline.cache.memory import MemoryCache, cost
from ragline.settings import SettingsError
from tests.ragline.cache.contract import Clock, LocalCacheContract, MakeCache


class TestMemoryCache(LocalCacheContract):
    @pytest.fixture
    def make_cache(self, clock: Clock) -> MakeCache:
        return lambda max_bytes=10_000_000: MemoryCache(max_bytes, clock)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2_000))))
async def test_it_counts_what_it_holds_and_never_exceeds_its_bound(writes: list[tuple[int, int]]) -> None:
    cache = MemoryCache(5_000)
    for key, size in writes:
        await cache.set_many({str(key): b"x" * size})
        assert cache.used <= 5_000
    held = await cache.get_many([str(key) for key in range(10)])
    assert cache.used == sum(cost("0", value) for value in held if value is not None)
    await cache.close()
    assert cache.used == 0


async def test_its_url_gives_the_bound() -> None:
    cache = caches.open("memory://?max_mb=3")
    assert isinstance(cache, MemoryCache)
    assert cache.max_bytes == 3_000_000


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("memcached://x", "memory://, sqlite://"),
        ("memory", "memory://, sqlite://"),
        ("memory://?max=3", "no option 'max'; it has max_mb"),
        ("memory://?max_mb=none", "max_mb"),
        ("memory://?max_mb=0", "max_mb"),
        ("memory://?max_mb=1&max_mb=2", "twice"),
        ("sqlite://", "names no file"),
    ],
)
def test_a_bad_url_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        caches.open(url)
