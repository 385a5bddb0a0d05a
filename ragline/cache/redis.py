"""Keeps a cache in Redis, shared by all replicas; while Redis is away it is an empty cache."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from pydantic import PositiveFloat, TypeAdapter, ValidationError
from redis.exceptions import RedisError

from ragline import redis_client
from ragline.cache import CLAIM, Cache
from ragline.errors import Unavailable
from ragline.redis_client import Server
from ragline.settings import SettingsError
from ragline.urls import Location

MAX_KEYS = 500  # in one round trip, so that no single one takes longer than the timeout allows
MAX_BYTES = 4_000_000
KEPT_S = 30 * 86_400.0
MAX_CLAIMS = 10_000  # remembered by one process
REPEAT_S = 60.0  # a refusal that goes on is logged once in so long

# Safe to be sent twice (a connection may break after the server took it): the owner's mark tells one's own claim.
TAKE = """
local owner = redis.call('GET', KEYS[1])
if owner then return owner == ARGV[1] and 1 or 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

log = structlog.get_logger(__name__)


def load(parts: Location, **options: Any) -> Cache:
    """``redis://host/0?ttl_s=2592000`` and the others of ``redis_client.connect``, with their options.

    ``ttl_s`` is for entries that are set without a time of their own: every entry ends some day, so that Redis may
    drop caches (``maxmemory-policy volatile-lru``) and nothing else. Raises SettingsError.
    """
    try:
        kept_s = TypeAdapter(PositiveFloat).validate_python(options.get("ttl_s", KEPT_S))
    except ValidationError as error:
        raise SettingsError(f"option 'ttl_s' of {parts.scheme} is no good: {error.errors()[0]['msg']}") from None
    return RedisCache(redis_client.open(parts, own=("ttl_s",)), kept_s)


class RedisCache:
    """Entries are raw bytes under ``prefix`` + key. How much is held is Redis' own affair (``maxmemory``).

    Nothing here raises: what Redis does not answer in time is a miss, and then, until it answers again, all is,
    at once. Belongs to one event loop.
    """

    def __init__(self, server: Server, kept_s: float = KEPT_S) -> None:
        self.server = server
        self.kept_s = kept_s
        self._owners: dict[str, str] = {}
        self._quiet_until = 0.0

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value a key, in order; None for a miss or an expired entry."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, bytes | None] = {}
        async with self._unless_away():
            for start in range(0, len(wanted), MAX_KEYS):
                part = wanted[start : start + MAX_KEYS]
                names = [self._name(key) for key in part]
                async with self.server.guard() as client:
                    read = client.mget_nonatomic if self.server.clustered else client.mget
                    found.update(zip(part, await read(names), strict=True))
        return [found.get(key) for key in keys]

    async def set_many(self, items: Mapping[str, bytes], ttl_s: float | None = None) -> None:
        """Keep the items for ``ttl_s`` seconds, or for as long as the URL says."""
        ms = max(1, round((self.kept_s if ttl_s is None else ttl_s) * 1000))
        async with self._unless_away():
            for part in batches(items):
                async with self.server.guard() as client:
                    pipeline = client.pipeline(transaction=None if self.server.clustered else False)
                    for key, value in part:
                        pipeline.set(self._name(key), value, px=ms)
                    await pipeline.execute()

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Forget the keys."""
        names = [self._name(key) for key in dict.fromkeys(keys)]
        async with self._unless_away():
            for start in range(0, len(names), MAX_KEYS):
                async with self.server.guard() as client:
                    await client.unlink(*names[start : start + MAX_KEYS])

    async def claim(self, key: str, ttl_s: float) -> bool:
        """Whether the work of that name is now the caller's; True where Redis is away."""
        owner = uuid.uuid4().hex
        taken = True
        async with self._unless_away(), self.server.guard() as client:
            arguments = (self._name(CLAIM + key), owner, max(1, round(ttl_s * 1000)))
            taken = bool(await client.eval(TAKE, 1, *arguments))
        if taken:
            while len(self._owners) >= MAX_CLAIMS:
                del self._owners[next(iter(self._owners))]
            self._owners[key] = owner
        return taken

    async def release(self, key: str) -> None:
        """Let others claim it; a claim that ran out and is somebody else's by now stays."""
        owner = self._owners.pop(key, None)
        if owner is None:
            return
        async with self._unless_away(), self.server.guard() as client:
            await client.eval(FREE, 1, self._name(CLAIM + key), owner)

    async def close(self) -> None:
        """Let go of the connections."""
        await self.server.close()

    @asynccontextmanager
    async def _unless_away(self) -> AsyncIterator[None]:
        """Leave what is inside undone where Redis does not answer or refuses it."""
        try:
            yield
        except Unavailable:
            pass  # the breaker has said so
        except RedisError as error:  # such as no memory left
            if time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + REPEAT_S
                log.warning("redis refuses", server=self.server.address.name, error=str(error))

    def _name(self, key: str) -> str:
        return self.server.prefix + key


def batches(items: Mapping[str, bytes]) -> Iterator[list[tuple[str, bytes]]]:
    """The items in runs that one round trip can take."""
    part: list[tuple[str, bytes]] = []
    held = 0
    for key, value in items.items():
        if part and (len(part) >= MAX_KEYS or held + len(value) > MAX_BYTES):
            yield part
            part, held = [], 0
        part.append((key, value))
        held += len(value)
    if part:
        yield part
