"""Keeps a cache inside this process, bounded in bytes: the least recently used entry goes first."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from pydantic import PositiveInt

from ragline.cache import CLAIM, Cache
from ragline.urls import Location

# What an entry costs beside its key and its value, about: the dictionary's slot and three objects' headers.
OVERHEAD = 250


def load(parts: Location, max_mb: PositiveInt = 256) -> Cache:
    """``memory://?max_mb=256``."""
    return MemoryCache(max_mb * 1_000_000)


class MemoryCache:
    """Holds at most ``max_bytes``, keys and a fixed overhead counted. Safe to use from any thread or loop."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value a key, in order; None for a miss or an expired entry."""
        now = self._clock()
        with self._lock:
            return [self._get(key, now) for key in keys]

    async def set_many(self, items: Mapping[str, bytes], ttl_s: float | None = None) -> None:
        """Keep the items; one that is larger than the whole cache is not kept."""
        expires = float("inf") if ttl_s is None else self._clock() + ttl_s
        with self._lock:
            for key, value in items.items():
                self._set(key, bytes(value), expires)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Forget the keys."""
        with self._lock:
            for key in keys:
                self._forget(key)

    async def claim(self, key: str, ttl_s: float) -> bool:
        """Whether the work of that name is now the caller's."""
        now = self._clock()
        with self._lock:
            if self._get(CLAIM + key, now) is not None:
                return False
            self._set(CLAIM + key, b"", now + ttl_s)
            return True

    async def release(self, key: str) -> None:
        """Let others claim it."""
        await self.delete_many([CLAIM + key])

    async def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self.used = 0

    def _get(self, key: str, now: float) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        if expires <= now:
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return value

    def _set(self, key: str, value: bytes, expires: float) -> None:
        self._forget(key)
        if cost(key, value) <= self.max_bytes:
            self._entries[key] = (value, expires)
            self.used += cost(key, value)
        while self.used > self.max_bytes:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.used -= cost(key, entry[0])


def cost(key: str, value: bytes) -> int:
    """What an entry takes, in bytes."""
    return len(key) + len(value) + OVERHEAD
