"""Does equal work once: callers that ask for what is being computed wait for it instead of starting it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from ragline.errors import Cancelled

R = TypeVar("R")


class Flight:
    """A computation under way and the number of callers that wait for it."""

    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.waiters = 0


class SingleFlight:
    """One computation a key at a time. Belongs to one event loop.

    The computation is nobody's: when the caller that started it is cancelled it goes on for the others, and
    when the last of them leaves it is cancelled. Its exception reaches all of them; nothing is kept once it is
    done. It runs in the context of the caller that started it, deadline included.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: Hashable, compute: Callable[[], Awaitable[R]]) -> R:
        """The result of ``compute()``, or of the equal computation that is under way already."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._start(key, compute)
        flight.waiters += 1
        try:
            await asyncio.wait((flight.task,))
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._land(key, flight)
                flight.task.cancel()
        if flight.task.cancelled():
            raise Cancelled("The work was cancelled before it was done; ask again.")
        result: R = flight.task.result()
        return result

    def _start(self, key: Hashable, compute: Callable[[], Awaitable[R]]) -> Flight:
        async def work() -> R:
            return await compute()

        flight = Flight(asyncio.create_task(work()))
        self._flights[key] = flight
        flight.task.add_done_callback(lambda task: self._done(key, flight, task))
        return flight

    def _done(self, key: Hashable, flight: Flight, task: asyncio.Task[Any]) -> None:
        self._land(key, flight)
        if not task.cancelled():
            # Looked at here, so that a failure whose waiters have all left is not reported as forgotten.
            task.exception()

    def _land(self, key: Hashable, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
