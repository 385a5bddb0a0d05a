"""Joins the vector searches of concurrent requests: what queued while a scan ran is the next matrix product."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from ragline.errors import Unavailable
from services.retriever.stores import Allowed, Ranking, Vectors, View


@dataclass(frozen=True)
class Waiting:
    """One request's queries (n, dimensions), whom to hand their rankings or the failure, and whether he has left.

    ``done`` is called once, in a thread of the pool.
    """

    vectors: Vectors
    view: View
    depth: int
    allowed: Allowed | None
    done: Callable[[list[Ranking] | BaseException], None]
    left: Callable[[], bool]


class Gathering:
    """A scan reads every vector from memory whoever asks, so queries that share it cost a fraction each.

    At most ``width`` scans run at a time in ``pool``, with at most ``most`` queries each, all of one view,
    depth and filter. Nothing ever waits for company. Any thread may use it; ``Search`` bounds what waits.
    """

    def __init__(self, pool: Executor, width: int, most: int) -> None:
        self.pool = pool
        self.width = width
        self.most = most
        self.lock = threading.Lock()
        self.waiting: dict[tuple[int, int, int], list[Waiting]] = {}
        self.running = 0

    async def dense(self, view: View, vectors: Vectors, depth: int, allowed: Allowed | None) -> list[Ranking]:
        """What ``view.dense`` gives for these queries."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[Ranking]] = loop.create_future()

        def done(found: list[Ranking] | BaseException) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, result, found)

        self.submit(Waiting(vectors, view, depth, allowed, done, result.done))
        return await result

    def submit(self, entry: Waiting) -> None:
        """Let the entry's queries be searched for; raises RuntimeError where the pool is shut."""
        # The entries hold the view and the filter, so that their ids stay theirs.
        key = (id(entry.view), entry.depth, id(entry.allowed))
        with self.lock:
            self.waiting.setdefault(key, []).append(entry)
        self.begin()

    def begin(self) -> None:
        """Start scans while there are places and queries, first come first served."""
        shut: RuntimeError | None = None
        while (batch := self.next()) is not None:
            if not batch:
                continue
            try:
                work = self.pool.submit(self.run, batch)
            except RuntimeError as error:
                self.refuse(batch)
                shut = error
            else:
                work.add_done_callback(partial(self.dropped, batch))
        if shut is not None:
            raise shut

    def next(self) -> list[Waiting] | None:
        """The next scan's entries, which may all have left, or None: no place is free, or nothing waits."""
        with self.lock:
            if self.running >= self.width or not self.waiting:
                return None
            key = next(iter(self.waiting))
            batch = self.taken(self.waiting.pop(key), key)
            self.running += bool(batch)
            return batch

    def taken(self, entries: list[Waiting], key: tuple[int, int, int]) -> list[Waiting]:
        """The first entries that fit into one scan; the others stay, callers who left are dropped."""
        entries = [entry for entry in entries if not entry.left()]
        queries = 0
        for count, entry in enumerate(entries):
            queries += len(entry.vectors)
            if count and queries > self.most:
                self.waiting[key] = entries[count:]
                return entries[:count]
        return entries

    def run(self, batch: list[Waiting]) -> None:
        """Scan, let the next scan begin, then give each caller its part (in the pool)."""
        try:
            found: list[Ranking] | Exception = scan(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            found = error
        with self.lock:
            self.running -= 1
        with suppress(RuntimeError):  # the pool is shut: who waits was told
            self.begin()
        hand_out(batch, found)

    def dropped(self, batch: list[Waiting], work: Future[None]) -> None:
        """Look whether the pool has dropped a scan because it is being shut."""
        if work.cancelled():
            self.refuse(batch)

    def refuse(self, batch: list[Waiting]) -> None:
        """Tell the callers of a scan that it will not be."""
        with self.lock:
            self.running -= 1
        hand_out(batch, Unavailable("The service is stopping; ask again."))


def hand_out(batch: list[Waiting], found: list[Ranking] | BaseException) -> None:
    """Give each caller its part, or all of them the failure."""
    start = 0
    for entry in batch:
        stop = start + len(entry.vectors)
        if not entry.left():
            entry.done(found if isinstance(found, BaseException) else found[start:stop])
        start = stop


def settle(result: asyncio.Future[list[Ranking]], found: list[Ranking] | BaseException) -> None:
    """Give the one who waits what was found, unless he has left."""
    if result.done():
        return
    if isinstance(found, BaseException):
        result.set_exception(found)
    else:
        result.set_result(found)


def scan(batch: list[Waiting]) -> list[Ranking]:
    """The rankings of all queries of a batch, in order (in the pool)."""
    first = batch[0]
    vectors = first.vectors if len(batch) == 1 else np.concatenate([entry.vectors for entry in batch])
    return first.view.dense(vectors, first.depth, first.allowed)
