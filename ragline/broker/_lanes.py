"""Decides what may run now: so many at once, and of each lane one after the other, in the order they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """Things to do, each in a lane. At most ``limit`` run at once, and of a lane one at a time, in order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: list[tuple[str, T]] = []
        self._busy: set[str] = set()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, lane: str, thing: T) -> None:
        """Put a thing at the end of its lane."""
        self._waiting.append((lane, thing))

    def start(self) -> tuple[str, T] | None:
        """The oldest thing that may run now, with its lane, which is busy until ``end``; None if none may."""
        if len(self._busy) >= self._limit:
            return None
        for place, (lane, _) in enumerate(self._waiting):
            if lane not in self._busy:
                self._busy.add(lane)
                return self._waiting.pop(place)
        return None

    def end(self, lane: str) -> None:
        """What ran in the lane is over."""
        self._busy.discard(lane)

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Forget those that wait and are not wanted any more."""
        self._waiting = [(lane, thing) for lane, thing in self._waiting if wanted(thing)]
