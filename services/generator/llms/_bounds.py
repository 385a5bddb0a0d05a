"""The bounds of work for an LLM: how many requests run and wait, in which order, and how long one may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ragline import context, metrics
from ragline.errors import Overloaded, TimedOut
from services.generator.llms import Piece
from services.generator.llms._turns import Turns

# How much the latest text counts in how often one is done, and what a refused caller is told to wait.
NEWEST = 0.2
LEAST_RETRY_S, MOST_RETRY_S = 1.0, 60.0
FOREVER_S = 7 * 86_400.0


class Slots:
    """``count`` at work and ``max_waiting`` behind them, of which tenants and their sessions take turns.

    One more is refused at once, except that a tenant with fewer waiting displaces the last of the one with the
    most. Who asks is read from ``context.caller``. Belongs to one event loop.
    """

    def __init__(self, count: int, max_waiting: int, name: str) -> None:
        self.count = count
        self.free = count
        self.max_waiting = max_waiting
        self.name = name
        self.turns: Turns[asyncio.Future[None]] = Turns()
        self.every_s = 0.0  # how often a slot comes back while some wait
        self.freed_at = 0.0
        self.queued = metrics.gauge("ragline_llm_waiting", "Texts that wait for an LLM.", ("llm",)).labels(name)
        self.busy = metrics.gauge("ragline_llm_busy", "Texts that an LLM writes.", ("llm",)).labels(name)
        about = "Wait of a text until an LLM began with it."
        self.waited = metrics.histogram("ragline_llm_wait_seconds", about, ("llm",)).labels(name)

    @property
    def waiting(self) -> int:
        """How many have no slot yet."""
        return len(self.turns)

    async def take(self) -> None:
        """Wait for a slot.

        Raises Overloaded where too many wait, at once or when another tenant's takes the place, and TimedOut
        when the request's deadline passes.
        """
        began = time.monotonic()
        if self.free:
            self.free -= 1
        else:
            with self.queued.track_inprogress():
                await self.wait(context.caller())
        self.busy.inc()
        self.waited.observe(time.monotonic() - began)

    async def wait(self, caller: context.Caller) -> None:
        """Wait until someone gives a slot back and it is this caller's turn."""
        left_s = context.remaining_s(FOREVER_S)
        if not self.turns:
            self.freed_at = time.monotonic()
        if self.waiting >= self.max_waiting:
            self.make_room(caller)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.turns.add(caller, turn)
        try:
            async with asyncio.timeout(left_s):
                await turn
        except TimeoutError:
            self.leave(caller, turn)
            raise TimedOut(f"The deadline passed before {self.name} had a slot; allow more time.") from None
        except asyncio.CancelledError:
            self.leave(caller, turn)
            raise

    def leave(self, caller: context.Caller, turn: asyncio.Future[None]) -> None:
        """Wait no longer; a slot that was just handed over goes to the next."""
        if not self.turns.remove(caller, turn) and not turn.cancelled() and turn.exception() is None:
            self.hand_on()

    def make_room(self, caller: context.Caller) -> None:
        """Take the place of another tenant's request; raises Overloaded where that would not be fair."""
        error = Overloaded(
            f"{self.waiting} texts wait for {self.name} (its option max_waiting); come back in a moment.",
            retry_after_s=min(MOST_RETRY_S, max(LEAST_RETRY_S, round(self.waiting * self.every_s))),
        )
        displaced = self.turns.displaced(caller)
        if displaced is None:
            raise error
        displaced.set_exception(error)

    def give_back(self) -> None:
        """Free the slot again."""
        self.busy.dec()
        now = time.monotonic()
        if self.turns:
            self.every_s += NEWEST * (now - self.freed_at - self.every_s)
        self.freed_at = now
        self.hand_on()

    def hand_on(self) -> None:
        """Give the slot to whose turn it is."""
        while (turn := self.turns.next()) is not None:
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


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
