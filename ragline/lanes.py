"""Orders what waits for a model: by arrival for fairness, by size to find neighbours of similar length."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

# Items up to this many tokens go together whatever their ratio: the padding costs less than another batch.
SHORT = 32
TURN = 4  # full batches that a call may have before the others of its lane
SLACK = 256  # items given up that may stay in the order of arrival before it is swept


class Call:
    """What one caller handed in: its items share one future, and fail or succeed as one."""

    __slots__ = ("error", "future", "left", "loop", "over", "results")

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.loop = loop
        self.future: asyncio.Future[list[Any]] = loop.create_future()
        self.results: list[Any] = [None] * count
        self.left = count
        self.error: BaseException | None = None
        self.over = False  # answered, failed or given up: its waiting items need not run

    def settle(self) -> None:
        """Answer the caller; runs on the caller's own loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.results)
        else:
            self.future.set_exception(self.error)


class Item:
    """One input of the model, waiting."""

    __slots__ = ("call", "index", "order", "size", "taken", "value")

    def __init__(self, value: Any, size: int, order: int, call: Call, index: int) -> None:
        self.value = value
        self.size = size
        self.order = order
        self.call = call
        self.index = index
        self.taken = False

    @property
    def rank(self) -> tuple[int, int, Item]:
        """Its place in a list ordered by size; orders differ, so two items are never compared themselves."""
        return self.size, self.order, self


class Lane:
    """Items of one priority: by arrival, for fairness, and by size, to find neighbours of similar length.

    A call that is larger than ``TURN`` batches then gives way to those that came after it, so that a short call
    never waits for all of a long one.
    """

    def __init__(self) -> None:
        self.arrivals: deque[Item] = deque()
        self.by_size: list[tuple[int, int, Item]] = []
        self.passed_over = 0
        self.turn: Call | None = None  # whose oldest item began the last batch
        self.had = 0  # padded tokens of the batches that it began, one after the other

    def add(self, item: Item) -> None:
        """Queue an item."""
        self.arrivals.append(item)
        insort(self.by_size, item.rank)

    def oldest(self) -> Item | None:
        """The item that has waited longest."""
        while self.arrivals and self.arrivals[0].taken:
            self.arrivals.popleft()
        return self.arrivals[0] if self.arrivals else None

    def remove(self, item: Item) -> None:
        """Take an item out of its place; ``arrivals`` forgets it when it gets there, or when most are gone."""
        item.taken = True
        del self.by_size[bisect_left(self.by_size, item.rank)]
        # A model that hangs takes nothing while callers come, wait in vain and go.
        if len(self.arrivals) > 2 * len(self.by_size) + SLACK:
            self.arrivals = deque(item for item in self.arrivals if not item.taken)

    def count(self, seed: Item, cost: int, most: int) -> None:
        """Note what a batch costs; where its call has had ``most`` or more it goes behind the others."""
        self.had = cost + (self.had if seed.call is self.turn else 0)
        self.turn = seed.call
        if self.had >= most:
            waiting = [item for item in self.arrivals if not item.taken]
            # The sort is stable: by arrival among the others and among its own.
            self.arrivals = deque(sorted(waiting, key=lambda item: item.call is seed.call))
            self.turn = None

    def take(self, max_batch: int, spread: float) -> list[Item]:
        """The oldest item and those nearest to it in size, as far as the padded batch stays in the budget."""
        seed = self.oldest()
        if seed is None:
            return []
        items = self.by_size
        first = bisect_left(items, seed.rank)
        last = first + 1
        while True:
            shortest, longest, count = items[first][0], items[last - 1][0], last - first + 1
            below = items[first - 1][0] if first > 0 else None
            above = items[last][0] if last < len(items) else None
            # Short items beside long ones would mostly be padding: they are better off in a batch of their own.
            if below is not None and (count * longest > max_batch or longest > max(SHORT, spread * below)):
                below = None
            if above is not None and (count * above > max_batch or above > max(SHORT, spread * shortest)):
                above = None
            if above is not None and (below is None or above - longest <= shortest - below):
                last += 1
            elif below is not None:
                first -= 1
            else:
                break
        batch = [item for _, _, item in items[first:last]]
        del items[first:last]
        for item in batch:
            item.taken = True
        self.count(seed, longest * count, TURN * max_batch)
        return batch


def settle(calls: Sequence[Call]) -> None:
    """Answer finished calls, each on its own loop; a loop that has been closed has nobody left to answer."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Call]] = {}
    for call in calls:
        by_loop.setdefault(call.loop, []).append(call)
    for loop, mine in by_loop.items():
        with suppress(RuntimeError):  # that is how a closed loop answers
            loop.call_soon_threadsafe(settle_all, mine)


def settle_all(calls: Sequence[Call]) -> None:
    """Answer calls on the loop they all came from."""
    for call in calls:
        call.settle()
