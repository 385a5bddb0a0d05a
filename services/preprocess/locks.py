"""Locks by name, made when wanted and gone when nobody holds them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Locks:
    """One lock a name, for tasks of one event loop."""

    def __init__(self) -> None:
        self.locks: dict[Hashable, asyncio.Lock] = {}
        self.users: dict[Hashable, int] = {}

    @asynccontextmanager
    async def hold(self, name: Hashable) -> AsyncIterator[None]:
        """Hold the lock of ``name``; waits while another task does."""
        lock = self.locks.setdefault(name, asyncio.Lock())
        self.users[name] = self.users.get(name, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self.users[name] -= 1
            if not self.users[name]:
                del self.users[name], self.locks[name]
