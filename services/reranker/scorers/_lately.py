"""Keeps what was used in the last seconds in this process, at next to no cost for what is never used again."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

V = TypeVar("V")


class Lately(Generic[V]):
    """At most ``max_bytes`` of entries, each for at most ``seconds`` after it was last used, calls or no calls.

    There are two halves. What is used goes to the young one; after half of the time, or once it is full, it
    becomes the old one, and what nobody took out of the old one is forgotten. Belongs to one event loop.
    """

    def __init__(self, max_bytes: int, seconds: float) -> None:
        self.half = max_bytes // 2
        self.seconds = seconds
        self.young: dict[str, tuple[V, int]] = {}
        self.old: dict[str, tuple[V, int]] = {}
        self.held = 0
        self.timer: asyncio.TimerHandle | None = None

    def get(self, key: str) -> V | None:
        """The entry, which is then young again."""
        entry = self.young.get(key)
        if entry is None and (entry := self.old.pop(key, None)) is not None:
            self.put(key, *entry)
        return None if entry is None else entry[0]

    def put(self, key: str, value: V, size: int) -> None:
        """Keep a value of ``size`` bytes, unless that is more than one half."""
        if size > self.half:
            return
        if self.held + size > self.half:
            self.turn()
        self.young[key] = (value, size)
        self.held += size
        if self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(self.seconds / 2, self.age)

    def turn(self) -> None:
        """Make the young half the old one."""
        self.old, self.young, self.held = self.young, {}, 0

    def age(self) -> None:
        """Turn, and again later while there is something to forget."""
        self.turn()
        again = self.old and asyncio.get_running_loop().call_later(self.seconds / 2, self.age)
        self.timer = again or None

    def close(self) -> None:
        """Forget everything."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer, self.old, self.young, self.held = None, {}, {}, 0
