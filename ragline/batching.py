"""Runs a model on whatever has queued while it was busy: no sleeps, bounded, and no caller waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from ragline.errors import Internal, Overloaded, Unavailable
from ragline.lanes import Call, Item, Lane, settle

T = TypeVar("T")
R = TypeVar("R")

LANES = 2

log = structlog.get_logger(__name__)


class Failure:
    """What went wrong with one item."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        # A future refuses StopIteration, and its caller would then wait for ever.
        self.error = RuntimeError(repr(error)) if isinstance(error, StopIteration) else error


class Batcher(Generic[T, R]):
    """Batches calls of ``run`` from any number of callers on any event loops.

    ``run`` gets up to ``max_batch`` padded tokens (items x longest item; one item alone may be larger) and
    returns one result an item, in order. It is called from one thread that the batcher owns: whatever has
    queued while it was busy, of similar length, is the next batch. ``size`` gives an item's tokens.

    Lane 0 goes before lane 1, but lane 1 gets its turn after ``ageing`` batches have passed it over. Within a
    lane the item that has waited longest is always in the next batch, except that a call of many batches lets
    the others go first now and then (``lanes.TURN``).

    More than ``max_queue`` waiting tokens raise Overloaded, except that an empty queue takes any one call. If a
    batch raises, its items run one by one, so that a bad one fails alone. If ``run`` kills the thread
    (SystemExit and the like), every caller gets Unavailable and ``healthy`` turns False.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Sequence[R]],
        *,
        size: Callable[[T], int],
        max_batch: int,
        max_queue: int,
        name: str,
        ageing: int = 4,
        spread: float = 2.0,
    ) -> None:
        self._run = run
        self._size = size
        self.max_batch = max_batch
        self.max_queue = max_queue
        self.name = name
        self._ageing = ageing
        self._spread = spread
        self._lanes = [Lane() for _ in range(LANES)]
        self._queued = 0
        self._order = 0
        self._rate = 0.0
        self._wanted = threading.Condition(threading.Lock())
        self._idle = False
        self._closed = False
        self._dead = False
        self._thread = threading.Thread(target=self._work, name=f"batcher-{name}", daemon=True)

    @property
    def queued(self) -> int:
        """Tokens waiting, those in the model's hands not counted."""
        return self._queued

    @property
    def healthy(self) -> bool:
        """False once the worker thread has died or was never started."""
        return self._thread.is_alive() and not self._dead

    def start(self) -> None:
        """Start the worker thread; what was handed in before waits until then."""
        self._thread.start()

    async def submit(self, item: T, lane: int = 0) -> R:
        """The result of one item. Raises Overloaded, Unavailable, or what ``run`` raised for this item."""
        return (await self.submit_many((item,), lane))[0]

    async def submit_many(self, items: Sequence[T], lane: int = 0) -> list[R]:
        """The results of several items, in order; raises as ``submit`` does, for the first item that fails."""
        if not items:
            return []
        sizes = [max(1, self._size(item)) for item in items]
        call = Call(asyncio.get_running_loop(), len(items))
        waiting = self._enqueue(call, items, sizes, lane)
        try:
            return await call.future
        finally:
            if call.future.cancelled():
                self._drop(call, waiting, lane)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Fail what waits, let the batch in the model's hands finish (at most ``timeout_s``), end the thread."""
        with self._wanted:
            self._closed = True
            waiting = self._empty()
            self._wanted.notify()
        self._fail(waiting, f"{self.name} is shutting down; try again.")
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, timeout_s)

    def _enqueue(self, call: Call, items: Sequence[T], sizes: Sequence[int], lane: int) -> list[Item]:
        total = sum(sizes)
        with self._wanted:
            if self._closed or self._dead:
                why = "its worker died" if self._dead else "it is shutting down"
                raise Unavailable(f"{self.name} takes no work: {why}.")
            if self._queued and self._queued + total > self.max_queue:
                raise Overloaded(
                    f"{self.name} has {self._queued} tokens waiting, and {total} more would exceed its "
                    f"{self.max_queue}; try again later.",
                    retry_after_s=min(60.0, max(1.0, self._queued / self._rate if self._rate else 1.0)),
                )
            target = self._lanes[lane]
            waiting = []
            for index, (value, size) in enumerate(zip(items, sizes, strict=True)):
                item = Item(value, size, self._order, call, index)
                self._order += 1
                target.add(item)
                waiting.append(item)
            self._queued += total
            if self._idle:
                self._idle = False
                self._wanted.notify()
        return waiting

    def _drop(self, call: Call, waiting: Sequence[Item], lane: int) -> None:
        """Take a call's waiting items out of the queue: nobody wants their results any more."""
        with self._wanted:
            call.over = True
            for item in waiting:
                if not item.taken:
                    self._lanes[lane].remove(item)
                    self._queued -= item.size

    def _work(self) -> None:
        batch: list[Item] = []
        try:
            while batch := self._next():
                self._deliver(batch, self._outcomes(batch))
        except BaseException:  # the end of the thread, whatever ended it: whoever waits must hear of it
            log.exception("batcher died", batcher=self.name)
            with self._wanted:
                self._dead = True
                waiting = batch + self._empty()
            self._fail(waiting, f"{self.name}'s worker died; the service must be restarted.")

    def _next(self) -> list[Item]:
        """Wait for work and take a batch of it; empty when the batcher was closed."""
        with self._wanted:
            while True:
                if self._closed:
                    return []
                while taken := self._choose().take(self.max_batch, self._spread):
                    self._queued -= sum(item.size for item in taken)
                    # A call that has failed already does not need its other items.
                    if batch := [item for item in taken if not item.call.over]:
                        return batch
                self._idle = True
                while self._idle and not self._closed:
                    self._wanted.wait()

    def _choose(self) -> Lane:
        """The lane whose turn it is."""
        waiting = [lane for lane in self._lanes if lane.oldest() is not None]
        if not waiting:
            return self._lanes[0]
        chosen = next((lane for lane in waiting if lane.passed_over >= self._ageing), waiting[0])
        for lane in waiting:
            lane.passed_over = 0 if lane is chosen else lane.passed_over + 1
        return chosen

    def _outcomes(self, batch: Sequence[Item]) -> list[R | Failure]:
        """One result or failure an item."""
        started = time.perf_counter()
        values = [item.value for item in batch]
        try:
            results = list(self._run(values))
        except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to its callers
            if len(batch) == 1:
                return [Failure(error)]
            log.warning(
                "batch failed, its items run one by one", batcher=self.name, items=len(batch), error=str(error)
            )
            return [self._outcomes([item])[0] for item in batch]
        if len(results) != len(batch):
            log.error("wrong number of results", batcher=self.name, items=len(batch), results=len(results))
            return [Failure(Internal()) for _ in batch]
        self._measure(sum(item.size for item in batch), time.perf_counter() - started)
        return list(results)

    def _measure(self, tokens: int, elapsed_s: float) -> None:
        """Keep the speed in tokens a second, the last batches counting most; it says when to come back."""
        rate = tokens / max(elapsed_s, 1e-6)
        self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate

    def _deliver(self, batch: Sequence[Item], outcomes: Sequence[R | Failure]) -> None:
        """Hand out results, with one wake-up for each event loop."""
        finished: list[Call] = []
        for item, outcome in zip(batch, outcomes, strict=True):
            call = item.call
            if call.over:
                continue
            if isinstance(outcome, Failure):
                call.error = outcome.error
            else:
                call.results[item.index] = outcome
                call.left -= 1
            if call.error is not None or call.left == 0:
                call.over = True
                finished.append(call)
        settle(finished)

    def _fail(self, items: Sequence[Item], detail: str) -> None:
        calls = {id(item.call): item.call for item in items if not item.call.over}
        for call in calls.values():
            call.error = Unavailable(detail)
            call.over = True
        settle(list(calls.values()))

    def _empty(self) -> list[Item]:
        waiting = [item for lane in self._lanes for _, _, item in lane.by_size]
        for item in waiting:
            item.taken = True
        self._lanes = [Lane() for _ in range(LANES)]
        self._queued = 0
        return waiting
