"""Keeps lists in Redis, shared by all replicas; a Redis short of memory drops caches, and none of them."""

from __future__ import annotations

import asyncio
import contextvars
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from redis.exceptions import OutOfMemoryError, RedisError

from ragline import redis_client
from ragline.entries import Entries
from ragline.entries._lua import APPEND, DELETE, LOOK, MARK, READ, TOKEN
from ragline.errors import Unavailable
from ragline.redis_client import Server
from ragline.urls import Location

PAGE = 500  # keys that one SCAN looks at
SWEEP_S = 600.0  # within about which a list goes whose time is over; until then nobody can read it
PAUSE_S = 0.02  # between two pages of a sweep, which is in no hurry
SWEPT = "entries:swept"  # a key that is there where somebody swept lately
FULL = "its memory is full of what it may not drop. Raise its maxmemory, or keep things for a shorter time."

log = structlog.get_logger(__name__)


def load(parts: Location, **options: Any) -> Entries:
    """``redis://host/0`` and the others of ``redis_client.connect``, with their options."""
    return RedisEntries(redis_client.open(parts))


class RedisEntries:
    """A list is one Redis list under ``prefix`` + key. How much is held is Redis' own affair (``maxmemory``).

    Lasting lists have no time to live in Redis, where a policy that evicts what has one (``volatile-lru``) would
    drop them. Each list says itself when it ends, by the clock of Redis: from then on nothing finds it, and a
    sweep takes it away. One replica sweeps every ``sweep_s``, in the background. Every step is one call with the
    key of one list, so whoever dies leaves nothing half done. Belongs to one event loop.
    """

    def __init__(self, server: Server, sweep_s: float = SWEEP_S) -> None:
        self.server = server
        self.sweep_s = sweep_s
        self._sweeper: asyncio.Task[None] | None = None

    async def append(self, key: str, entry: bytes, *, ttl_s: float, limit: int, lasting: bool = True) -> None:
        """See ``Entries``."""
        ttl_ms = max(1, round(ttl_s * 1000))
        await self._run(APPEND, key, secrets.token_bytes(TOKEN), entry, limit, ttl_ms, int(lasting))

    async def read(self, key: str) -> list[bytes]:
        """See ``Entries``."""
        return [entry[MARK:] for entry in await self._run(READ, key)]

    async def delete(self, key: str) -> bool:
        """See ``Entries``."""
        return bool(await self._run(DELETE, key))

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """See ``Entries``."""
        async for page in self._pages(prefix):
            for name in page:
                yield name.removeprefix(self.server.prefix)

    async def check(self) -> None:
        """Raise Unavailable where Redis does not answer."""
        async with self._client() as client:
            await client.ping()

    async def close(self) -> None:
        """Let go of the connections."""
        if self._sweeper:
            self._sweeper.cancel()
            await asyncio.wait((self._sweeper,))
        await self.server.close()

    async def _run(self, script: str, key: str, *arguments: bytes | int) -> Any:
        """What a script over one list answers."""
        async with self._client() as client:
            return await client.eval(script, 1, self._name(key), *arguments)

    async def _sweep(self) -> None:
        """Remove lists whose time is over, again and again; what fails is done by the next round."""
        while True:
            try:
                if await self._mine():
                    async for _ in self._pages(""):
                        await rest(PAUSE_S)
            except Unavailable as error:
                log.info("lists are not swept", reason=error.detail)
            await rest(self.sweep_s)

    async def _mine(self) -> bool:
        """Whether no other replica has swept lately. A full Redis notes nothing, and needs it most."""
        try:
            async with self._client() as client:
                return bool(
                    await client.set(self._name(SWEPT), b"", nx=True, px=max(1, round(self.sweep_s * 1000)))
                )
        except Unavailable:
            return True

    async def _pages(self, prefix: str) -> AsyncIterator[list[str]]:
        """The names of lists that begin so; those whose time is over are removed on the way."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._name(prefix)) + "*"
        async with self._client() as client:
            places = [{"target_nodes": node} for node in client.get_primaries()] if self._clustered else [{}]
        for place in places:
            cursor: Any = None
            while cursor != 0:
                async with self._client() as client:
                    cursor, found = await client.scan(cursor or 0, pattern, PAGE, "list", **place)
                if self._clustered:  # there it is a cursor for each node that was asked
                    [cursor] = cursor.values()
                yield [name.decode() for name in await self._ours(found)]

    async def _ours(self, names: Sequence[bytes]) -> list[bytes]:
        """Those that are lists of ours whose time is not over. In a Cluster each may be in a slot of its own."""
        size = 1 if self._clustered else PAGE
        answers: list[int] = []
        for start in range(0, len(names), size):
            part = names[start : start + size]
            async with self._client() as client:
                answers += await client.eval(LOOK, len(part), *part)
        return [name for name, ours in zip(names, answers, strict=True) if ours]

    @property
    def _clustered(self) -> bool:
        return self.server.clustered

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        """The client; a Redis that refuses, as one without memory left, is as good as away."""
        if self._sweeper is None:  # outside of the request that happens to be the first
            self._sweeper = asyncio.create_task(self._sweep(), context=contextvars.Context())
        try:
            async with self.server.guard() as client:
                yield client
        except RedisError as error:
            why = FULL if isinstance(error, OutOfMemoryError) or "OOM" in str(error) else str(error)
            raise Unavailable(f"{self.server.address.name} refuses: {why}") from error

    def _name(self, key: str) -> str:
        return self.server.prefix + key


async def rest(seconds: float) -> None:
    """Sleep, or end a task that was cancelled in a call to Redis which lost that, as ``wait_for`` of 3.11 may."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)
