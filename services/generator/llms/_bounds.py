"""The bounds of work for an LLM: how many requests run and wait, and how long one may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ragline.errors import Overloaded, TimedOut
from services.generator.llms import Piece


class Slots:
    """``count`` at work and ``max_waiting`` behind them; one more is refused at once."""

    def __init__(self, count: int, max_waiting: int, name: str) -> None:
        self.count = count
        self.free = asyncio.Semaphore(count)
        self.max_waiting = max_waiting
        self.name = name
        self.waiting = 0

    async def take(self) -> None:
        """Wait for a slot; raises Overloaded where too many wait already."""
        if self.free.locked() and self.waiting >= self.max_waiting:
            raise Overloaded(
                f"{self.waiting} texts wait for {self.name} (its option max_waiting); come back in a moment.",
                retry_after_s=2.0,
            )
        self.waiting += 1
        try:
            await self.free.acquire()
        finally:
            self.waiting -= 1

    def give_back(self) -> None:
        """Free the slot again."""
        self.free.release()


async def within(pieces: AsyncGenerator[Piece, None], timeout_s: float) -> AsyncGenerator[Piece, None]:
    """The pieces, as long as they all come within ``timeout_s`` seconds; raises TimedOut after that."""
    end = time.monotonic() + timeout_s
    async with aclosing(pieces):
        while True:
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    piece = await anext(pieces, None)
            except TimeoutError:
                raise TimedOut("The LLM did not finish in GENERATOR_LLM_TIMEOUT_S; allow it more time.") from None
            if piece is None:
                return
            yield piece
