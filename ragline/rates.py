"""Counts how often something was done lately, over all replicas that share a Redis."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from redis.exceptions import RedisError

from ragline import redis_client
from ragline.errors import Unavailable
from ragline.redis_client import Server
from ragline.settings import SettingsError
from ragline.urls import parse

MAX_KEYS = 100_000
PREFIX = "rate:"

# A window that slides: the count of this fixed one, and of the one before the share that still lies within reach.
# Answers the seconds to wait, 0 where it was counted. The clock is Redis' own, the same for all replicas.
TAKE = """
local limit, per, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local at = (time[1] + time[2] / 1000000) / per
local window = math.floor(at)
local into = at - window
local kept = redis.call('HMGET', KEYS[1], 'window', 'now', 'before')
local now, before = 0, 0
if tonumber(kept[1]) == window then
  now, before = tonumber(kept[2]), tonumber(kept[3])
elseif tonumber(kept[1]) == window - 1 then
  before = tonumber(kept[2])
end
if now + before * (1 - into) + cost <= limit then
  redis.call('HSET', KEYS[1], 'window', window, 'now', now + cost, 'before', before)
  redis.call('PEXPIRE', KEYS[1], math.ceil(per * 2000))
  return '0'
end
local wait
if now + cost <= limit then
  wait = 1 - into - (limit - cost - now) / before
else
  wait = 1 - into + math.max(0, 1 - (limit - cost) / now)
end
return tostring(wait * per)
"""

log = structlog.get_logger(__name__)


class Rates(Protocol):
    """Counts by key within a window that slides."""

    async def take(self, key: str, *, limit: float, per_s: float, cost: float = 1) -> float:
        """Count ``cost`` (at most ``limit``) unless the last ``per_s`` seconds would hold more than ``limit``.

        Returns the seconds after which it would fit; 0 where it was counted. Never raises.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass
class Window:
    """The counts of one key: of the fixed window ``number``, and of the one before it."""

    number: int = -1
    now: float = 0.0
    before: float = 0.0


class LocalRates:
    """Counts in this process; the keys that were used least recently are forgotten beyond ``max_keys``."""

    def __init__(self, max_keys: int = MAX_KEYS, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_keys = max_keys
        self.clock = clock
        self.windows: OrderedDict[str, Window] = OrderedDict()

    async def take(self, key: str, *, limit: float, per_s: float, cost: float = 1) -> float:
        """See ``Rates``."""
        cost = min(cost, limit)
        at = self.clock() / per_s
        number = math.floor(at)
        into = at - number
        window = self.windows.setdefault(key, Window())
        self.windows.move_to_end(key)
        while len(self.windows) > self.max_keys:
            self.windows.popitem(last=False)
        if window.number != number:
            window.before = window.now if window.number == number - 1 else 0.0
            window.number, window.now = number, 0.0
        if window.now + window.before * (1 - into) + cost <= limit:
            window.now += cost
            return 0.0
        if window.now + cost <= limit:
            return per_s * (1 - into - (limit - cost - window.now) / window.before)
        return per_s * (1 - into + max(0.0, 1 - (limit - cost) / window.now))

    async def close(self) -> None:
        """There is nothing to let go of."""


class RedisRates:
    """Counts in Redis, and in this process while Redis is away: then each replica has the limit for itself."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.local = LocalRates()

    async def take(self, key: str, *, limit: float, per_s: float, cost: float = 1) -> float:
        """See ``Rates``."""
        try:
            async with self.server.guard() as client:
                name = f"{self.server.prefix}{PREFIX}{key}"
                return float(await client.eval(TAKE, 1, name, limit, per_s, min(cost, limit)))
        except Unavailable:
            pass
        except RedisError as error:  # such as no memory left
            log.warning("redis refuses to count", server=self.server.address.name, error=str(error))
        return await self.local.take(key, limit=limit, per_s=per_s, cost=cost)

    async def close(self) -> None:
        """Let go of the connections."""
        await self.server.close()


def open(url: str) -> Rates:  # noqa: A001 - read as rates.open
    """Counters where a URL says: ``memory://?max_keys=100000``, or a Redis as ``redis_client.connect`` has it.

    Raises SettingsError for another scheme or a bad option.
    """
    location = parse(url, ("memory", *redis_client.SCHEMES))
    if location.scheme != "memory":
        return RedisRates(redis_client.open(location))
    unknown = sorted(set(location.options) - {"max_keys"})
    most = location.options.get("max_keys", str(MAX_KEYS))
    if unknown or not most.isdecimal() or not int(most):
        raise SettingsError(f"{url!r} is no good: memory has one option here, max_keys, a number over 0.")
    return LocalRates(int(most))
