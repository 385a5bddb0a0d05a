"""Where lists are kept that outlive a process, such as conversations: one small interface, chosen by a URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from ragline.backends import load
from ragline.redis_client import SCHEMES as REDIS
from ragline.urls import parse

SCHEMES = ("memory", "sqlite", *REDIS)


class Entries(Protocol):
    """Lists of bytes by key, each with a time after which all of it is forgotten.

    Every call raises Unavailable where the store is away or full: unlike a cache, what was appended is there.
    Several processes may use one store at once; two that append to one list both find their entry in it.
    """

    async def append(self, key: str, entry: bytes, *, ttl_s: float, limit: int, lasting: bool = True) -> None:
        """Put an entry at the end of a list, of which the newest ``limit`` stay, for ``ttl_s`` from now.

        One that is not ``lasting`` may go earlier where a store makes room: Redis drops it as it drops caches.
        """
        ...

    async def read(self, key: str) -> list[bytes]:
        """The entries of a list, oldest first; none where there is no such list."""
        ...

    async def delete(self, key: str) -> bool:
        """Forget a list; whether there was one."""
        ...

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """The keys that begin so, in no order. One may come twice where others write meanwhile."""
        ...

    async def check(self) -> None:
        """Raise Unavailable where the store cannot be used now."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def open(url: str) -> Entries:  # noqa: A001 - read as ragline.entries.open
    """The store that a URL names: ``sqlite:///path/to/file.db?max_mb=4096``, ``redis://host:6379/0`` and its kin
    (see ``ragline.redis_client.connect``), ``memory://?max_mb=64`` for one process and as long as it lives.

    Raises SettingsError for an unknown scheme, a bad option or a file that cannot be opened.
    """
    location = parse(url, SCHEMES)
    module = "redis" if location.scheme in REDIS else location.scheme
    store: Entries = load(__name__, module, location, location.options)
    return store
