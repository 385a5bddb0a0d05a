"""Where results are kept for the next caller: one small interface, chosen by a URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ragline.backends import load
from ragline.urls import parse

SCHEMES = ("memory", "sqlite")


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

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def open(url: str) -> Cache:  # noqa: A001 - read as ragline.cache.open
    """The cache that a URL names: ``memory://?max_mb=256``, ``sqlite:///path/to/cache.db?max_mb=4096``.

    Raises SettingsError for an unknown scheme or a bad option.
    """
    location = parse(url, SCHEMES)
    cache: Cache = load(__name__, location.scheme, location, location.options)
    return cache
