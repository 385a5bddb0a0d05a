"""Counts what a cache is asked for and what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ragline import metrics

if TYPE_CHECKING:
    from ragline.cache import Cache


class Counted:
    """A cache whose reads and writes are counted under ``name``."""

    def __init__(self, cache: Cache, name: str) -> None:
        self.cache = cache
        reads = metrics.counter("ragline_cache_reads", "Entries asked for.", ("cache", "result"))
        self.hits, self.misses = reads.labels(name, "hit"), reads.labels(name, "miss")
        self.writes = metrics.counter("ragline_cache_writes", "Entries handed over.", ("cache",)).labels(name)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See ``Cache``."""
        values = await self.cache.get_many(keys)
        missed = values.count(None)
        self.misses.inc(missed)
        self.hits.inc(len(values) - missed)
        return values

    async def set_many(self, items: Mapping[str, bytes], ttl_s: float | None = None) -> None:
        """See ``Cache``."""
        self.writes.inc(len(items))
        await self.cache.set_many(items, ttl_s)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See ``Cache``."""
        await self.cache.delete_many(keys)

    async def claim(self, key: str, ttl_s: float) -> bool:
        """See ``Cache``."""
        return await self.cache.claim(key, ttl_s)

    async def release(self, key: str) -> None:
        """See ``Cache``."""
        await self.cache.release(key)

    async def close(self) -> None:
        """See ``Cache``."""
        await self.cache.close()
