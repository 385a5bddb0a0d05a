"""Joins the vector searches of concurrent requests: what queued while a scan ran is the next matrix product."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from services.retriever.stores import Allowed, Ranking, Vectors, View


@dataclass(frozen=True)
class Waiting:
    """One request's queries (n, dimensions) and who waits for their rankings."""

    vectors: Vectors
    view: View
    depth: int
    allowed: Allowed | None
    result: asyncio.Future[list[Ranking]]


class Gathering:
    """A scan reads every vector from memory whoever asks, so queries that share it cost a fraction each.

    At most ``width`` scans run at a time in ``pool``, with at most ``most`` queries each, all of one view,
    depth and filter. Nothing ever waits for company. One event loop uses it; ``Search`` bounds what waits.
    """

    def __init__(self, pool: Executor, width: int, most: int) -> None:
        self.pool = pool
        self.width = width
        self.most = most
        self.waiting: dict[tuple[int, int, int], list[Waiting]] = {}
        self.running = 0

    async def dense(self, view: View, vectors: Vectors, depth: int, allowed: Allowed | None) -> list[Ranking]:
        """What ``view.dense`` gives for these queries."""
        result: asyncio.Future[list[Ranking]] = asyncio.get_running_loop().create_future()
        # The entries hold the view and the filter, so that their ids stay theirs.
        key = (id(view), depth, id(allowed))
        self.waiting.setdefault(key, []).append(Waiting(vectors, view, depth, allowed, result))
        self.begin()
        return await result

    def begin(self) -> None:
        """Start scans while there are places and queries, first come first served."""
        while self.running < self.width and self.waiting:
            key = next(iter(self.waiting))
            batch = self.taken(self.waiting.pop(key), key)
            if batch:
                self.running += 1
                work = asyncio.get_running_loop().run_in_executor(self.pool, scan, batch)
                work.add_done_callback(lambda done, batch=batch: self.end(batch, done))  # type: ignore[misc]

    def taken(self, entries: list[Waiting], key: tuple[int, int, int]) -> list[Waiting]:
        """The first entries that fit into one scan; the others stay, callers who left are dropped."""
        entries = [entry for entry in entries if not entry.result.done()]
        queries = 0
        for count, entry in enumerate(entries):
            queries += len(entry.vectors)
            if count and queries > self.most:
                self.waiting[key] = entries[count:]
                return entries[:count]
        return entries

    def end(self, batch: list[Waiting], done: asyncio.Future[list[Ranking]]) -> None:
        """Give each caller its part, or all of them the failure."""
        self.running -= 1
        start = 0
        for entry in batch:
            stop = start + len(entry.vectors)
            if entry.result.done():
                pass
            elif done.cancelled():
                entry.result.cancel()
            elif (error := done.exception()) is not None:
                entry.result.set_exception(error)
            else:
                entry.result.set_result(done.result()[start:stop])
            start = stop
        self.begin()


def scan(batch: list[Waiting]) -> list[Ranking]:
    """The rankings of all queries of a batch, in order (in the pool)."""
    first = batch[0]
    vectors = first.vectors if len(batch) == 1 else np.concatenate([entry.vectors for entry in batch])
    return first.view.dense(vectors, first.depth, first.allowed)
