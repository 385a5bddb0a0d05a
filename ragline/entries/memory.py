"""Keeps lists inside this process, for tests and trials: they are gone when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from pydantic import PositiveInt

from ragline.entries import Entries
from ragline.errors import Unavailable
from ragline.urls import Location

OVERHEAD = 250  # what a list or an entry costs beside its bytes, about


def load(parts: Location, max_mb: PositiveInt = 64) -> Entries:
    """``memory://?max_mb=64``."""
    return MemoryEntries(max_mb * 1_000_000)


@dataclass
class Kept:
    """A list and when it is forgotten."""

    expires: float
    entries: list[bytes] = field(default_factory=list)

    def cost(self, key: str) -> int:
        """What it takes, in bytes."""
        return len(key) + OVERHEAD + sum(len(entry) + OVERHEAD for entry in self.entries)


class MemoryEntries:
    """Holds at most about ``max_bytes``; more is refused. Safe to use from any thread or loop."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self._clock = clock
        self._lists: dict[str, Kept] = {}
        self._used = 0
        self._lock = threading.Lock()

    async def append(self, key: str, entry: bytes, *, ttl_s: float, limit: int, lasting: bool = True) -> None:
        """See ``Entries``."""
        with self._lock:
            now = self._clock()
            old = self._lists.get(key)
            before = old.entries if old and old.expires > now else []
            new = Kept(now + ttl_s, [*before, bytes(entry)][-limit:])
            self._forget(key)
            if self._used + new.cost(key) > self.max_bytes:
                for gone in [each for each, kept in self._lists.items() if kept.expires <= now]:
                    self._forget(gone)
            if full := self._used + new.cost(key) > self.max_bytes:
                new = Kept(new.expires, before)
            if new.entries:
                self._lists[key] = new
                self._used += new.cost(key)
        if full:
            raise Unavailable(f"The store in memory is full at {self.max_bytes:,} bytes; raise its max_mb.")

    async def read(self, key: str) -> list[bytes]:
        """See ``Entries``."""
        with self._lock:
            kept = self._lists.get(key)
            return list(kept.entries) if kept and kept.expires > self._clock() else []

    async def delete(self, key: str) -> bool:
        """See ``Entries``."""
        with self._lock:
            kept = self._forget(key)
            return kept is not None and kept.expires > self._clock()

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """See ``Entries``."""
        with self._lock:
            now = self._clock()
            found = [key for key, kept in self._lists.items() if key.startswith(prefix) and kept.expires > now]
        for key in found:
            yield key

    async def check(self) -> None:
        """It is always there."""

    async def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._lists.clear()
            self._used = 0

    def _forget(self, key: str) -> Kept | None:
        kept = self._lists.pop(key, None)
        if kept is not None:
            self._used -= kept.cost(key)
        return kept
