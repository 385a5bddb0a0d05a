"""Where results are kept for the next caller: one small interface, chosen by a URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ragline.backends import load
from ragline.cache._counted import Counted
from ragline.urls import parse

REDIS = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
SCHEMES = ("memory", "sqlite", *REDIS)
CLAIM = "claim:"  # before the key of what is claimed, so that it never meets a value


class Cache(Protocol):
    """Bytes by key. A cache never raises for being away: a failed read is a miss, a failed write is dropped."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value a key, in order; None for a miss or an expired entry."""
        ...

    async def set_many(self, items: Mapping[str, bytes], ttl_s: float | None = None) -> None:
        """Keep the items for ``ttl_s`` seconds, or until room is needed."""
        ...

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Forget the keys; unknown ones are no error."""
        ...

    async def claim(self, key: str, ttl_s: float) -> bool:
        """Whether the work of that name is the caller's to do: False while another has it, at most ``ttl_s``.

        A cache that is away says True: work done twice is better than work left undone.
        """
        ...

    async def release(self, key: str) -> None:
        """The claimed work is done, or given up."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def open(url: str, name: str = "") -> Cache:  # noqa: A001 - read as ragline.cache.open
    """The cache that a URL names: ``memory://?max_mb=256``, ``sqlite:///path/to/cache.db?max_mb=4096``,
    ``redis://host:6379/0`` and its kin (see ``ragline.redis_client.connect``).

    With a ``name`` its hits and misses are counted under that. Raises SettingsError for an unknown scheme or a bad
    option.
    """
    location = parse(url, SCHEMES)
    module = "redis" if location.scheme in REDIS else location.scheme
    cache: Cache = load(__name__, module, location, location.options)
    return Counted(cache, name) if name else cache
