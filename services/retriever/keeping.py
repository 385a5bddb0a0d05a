"""Keeps what searches found, by the collection's generation, and does equal ones that come at once only once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from ragline.cache import Cache
from ragline.cache.single_flight import SingleFlight
from ragline.errors import TimedOut
from ragline.v1.passage_pb2 import Statistics
from services.retriever.asking import How
from services.retriever.fusion import Fused
from services.retriever.stores import View

PREFIX = "retrieval:"
FORMAT = 3  # of what is kept; grows when that changes


@dataclass(frozen=True)
class Found:
    """One query's best rows, and how; ``statistics`` are absent where the query was not embedded."""

    fused: Sequence[Fused]
    statistics: Statistics | None = None
    how: How | None = None


@dataclass(frozen=True)
class Batch:
    """What one search found, a query each; ``degraded`` names what could not be used."""

    found: Sequence[Found]
    degraded: Sequence[str]


class Keeping:
    """Kept are rows and scores, never texts: those are fetched from the record, so what was deleted is gone.

    A generation's number means something in one life of the record only: restored from a backup it counts on from
    an older one. So the keys hold the epoch of the view, and what was kept in an earlier one is never read.
    """

    def __init__(self, cache: Cache | None, ttl_s: float) -> None:
        self.cache = cache
        self.ttl_s = ttl_s
        self.flights = SingleFlight()

    def keys(self, view: View, asked: Mapping[str, object], queries: Sequence[str]) -> list[str]:
        """The name of each query's result: all that it depends on, ``asked`` being the same for all queries."""
        parts = [FORMAT, view.epoch, view.generation, view.fingerprint, dict(asked)]
        common = hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS))
        keys = []
        for query in queries:
            one = common.copy()
            one.update(query.encode("utf-8", "surrogatepass"))
            keys.append(PREFIX + one.hexdigest())
        return keys

    async def read(self, keys: Sequence[str]) -> list[Found | None]:
        """What is kept."""
        if self.cache is None:
            return [None] * len(keys)
        return [None if value is None else unpacked(value) for value in await self.cache.get_many(keys)]

    async def keep(self, keys: Sequence[str], batch: Batch) -> None:
        """Keep what was found, unless something was missing."""
        if self.cache is not None and not batch.degraded:
            items = {key: packed(found) for key, found in zip(keys, batch.found, strict=True)}
            await self.cache.set_many(items, self.ttl_s)

    async def once(self, keys: Sequence[str], search: Callable[[], Awaitable[Batch]]) -> Batch:
        """What ``search`` finds for the keys, or the equal search under way; keeps it.

        A search ends with the time of the one who began it; who waits and has more time begins another.
        """
        while True:
            led = False

            async def lead() -> Batch:
                nonlocal led
                led = True
                batch = await search()
                await self.keep(keys, batch)
                return batch

            try:
                return await self.flights.run(tuple(keys), lead)
            except TimedOut:
                if led:
                    raise


def packed(found: Found) -> bytes:
    """A result as it is kept."""
    counts = found.statistics
    return orjson.dumps(
        [
            [list(one) for one in found.fused],
            counts
            and [counts.passages, list(counts.token_ids), list(counts.passage_frequencies), counts.fingerprint],
            found.how and list(found.how),
        ]
    )


def unpacked(value: bytes) -> Found:
    """What ``packed`` gave."""
    fused, counts, how = orjson.loads(value)
    statistics = None
    if counts is not None:
        passages, token_ids, frequencies, fingerprint = counts
        statistics = Statistics(
            passages=passages, token_ids=token_ids, passage_frequencies=frequencies, fingerprint=fingerprint
        )
    return Found([Fused(*one) for one in fused], statistics, how and How(*how))
