"""Keeps lists in Redis, shared by all replicas."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import RedisError

from ragline import redis_client
from ragline.entries import Entries
from ragline.errors import Unavailable
from ragline.redis_client import Server
from ragline.urls import Location

PAGE = 500  # keys that one SCAN looks at
MARK = 16  # bytes before each entry, which tell it from an equal one

# Safe to be sent twice (a connection may break after the server took it): an entry whose mark is among the last
# ones is there already. One key a call, so that it works on any node of a cluster.
APPEND = """
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], -16, -1)) do
  if string.sub(entry, 1, 16) == ARGV[1] then return 0 end
end
redis.call('RPUSH', KEYS[1], ARGV[1] .. ARGV[2])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[3]), -1)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""


def load(parts: Location, **options: Any) -> Entries:
    """``redis://host/0`` and the others of ``redis_client.connect``, with their options."""
    return RedisEntries(redis_client.open(parts))


class RedisEntries:
    """A list is one Redis list under ``prefix`` + key. How much is held is Redis' own affair (``maxmemory``):
    under a policy that evicts, a list may go before its time. Belongs to one event loop.
    """

    def __init__(self, server: Server) -> None:
        self.server = server

    async def append(self, key: str, entry: bytes, *, ttl_s: float, limit: int) -> None:
        """See ``Entries``."""
        arguments = (uuid.uuid4().bytes, entry, limit, max(1, round(ttl_s * 1000)))
        async with self._client() as client:
            await client.eval(APPEND, 1, self._name(key), *arguments)

    async def read(self, key: str) -> list[bytes]:
        """See ``Entries``."""
        async with self._client() as client:
            found = await client.lrange(self._name(key), 0, -1)
        return [entry[MARK:] for entry in found]

    async def delete(self, key: str) -> bool:
        """See ``Entries``."""
        async with self._client() as client:
            return bool(await client.unlink(self._name(key)))

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """See ``Entries``."""
        async with self._client() as client:
            places = [{"target_nodes": node} for node in client.get_primaries()] if self._clustered else [{}]
        for place in places:
            async for key in self._scan(self._name(prefix), place):
                yield key.removeprefix(self.server.prefix)

    async def check(self) -> None:
        """Raise Unavailable where Redis does not answer."""
        async with self._client() as client:
            await client.ping()

    async def close(self) -> None:
        """Let go of the connections."""
        await self.server.close()

    async def _scan(self, prefix: str, place: dict[str, Any]) -> AsyncIterator[str]:
        """The names on a node that begin so."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        cursor: Any = 0
        while True:
            async with self._client() as client:
                cursor, found = await client.scan(cursor, match=pattern, count=PAGE, **place)
            for name in found:
                yield name.decode()
            if self._clustered:  # there it is a cursor for each node that was asked
                [cursor] = cursor.values()
            if not cursor:
                return

    @property
    def _clustered(self) -> bool:
        return self.server.clustered

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        """The client; a Redis that refuses, as one without memory left, is as good as away."""
        try:
            async with self.server.guard() as client:
                yield client
        except RedisError as error:
            raise Unavailable(f"{self.server.address.name} refuses: {error}") from error

    def _name(self, key: str) -> str:
        return self.server.prefix + key
