"""Asks a second endpoint where the first is slower than most to speak; who speaks first is listened to.

J. Dean and L. A. Barroso, The Tail at Scale, Communications of the ACM 56(2), 2013: hedged requests.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable

from ragline import metrics
from services.generator.llms import Usage
from services.generator.llms._endpoints import Endpoint
from services.generator.llms._refusals import Refusal
from services.generator.llms._speech import Ask, Patience, Speech, begun

# So many times to first word are looked at; with fewer than the least nothing is known.
WINDOW, LEAST = 200, 20

Another = Callable[[], Awaitable[Endpoint | None]]


class Hedge:
    """Waits ``quantile`` of the times to first word seen lately, then asks a second endpoint; None: never."""

    def __init__(self, quantile: float | None) -> None:
        self.quantile = quantile
        self.seen_s: deque[float] = deque(maxlen=WINDOW)
        about = "Second endpoints that were asked because the first was slow, by who spoke first."
        self.hedges = metrics.counter("ragline_llm_hedges", about, ("winner",))

    def delay_s(self) -> float | None:
        """Seconds after which a first word is late; None where that is not known or nothing to act upon."""
        if self.quantile is None or len(self.seen_s) < LEAST:
            return None
        ordered = sorted(self.seen_s)
        return ordered[min(len(ordered) - 1, math.ceil(self.quantile * len(ordered)) - 1)]

    async def first(self, endpoint: Endpoint, ask: Ask, patience: Patience, another: Another) -> Speech:
        """The speech of who speaks first; raises Refusal where nobody does. ``another`` admits a second one."""
        delay_s = self.delay_s()
        if delay_s is None or delay_s >= patience.seconds:
            speech = await begun(endpoint, ask, patience)
        else:
            speech = await self.race(endpoint, ask, patience, another, delay_s)
        self.seen_s.append(speech.first_s)
        return speech

    async def race(
        self, endpoint: Endpoint, ask: Ask, patience: Patience, another: Another, delay_s: float
    ) -> Speech:
        """Two at once, the second after ``delay_s``."""
        tasks = [asyncio.create_task(begun(endpoint, ask, patience))]
        winner: Speech | None = None
        second: Endpoint | None = None
        try:
            await asyncio.wait(tasks, timeout=delay_s)
            if not tasks[0].done() and (second := await another()):
                tasks.append(asyncio.create_task(begun(second, ask, patience)))
            winner = await spoken(tasks)
            if second:
                self.hedges.labels("second" if winner.endpoint is second else "first").inc()
                loser = endpoint if winner.endpoint is second else second
                winner.also = loser.cost(Usage(ask.prompt_tokens))
            return winner
        finally:
            await silence(tasks, winner)


async def spoken(tasks: list[asyncio.Task[Speech]]) -> Speech:
    """The first that succeeds; raises the Refusal of the last where none does."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done and task.exception() is None:
                return task.result()
    failed = [error for task in tasks if isinstance(error := task.exception(), Refusal)]
    raise failed[-1] if failed else tasks[-1].exception() or Refusal


async def silence(tasks: list[asyncio.Task[Speech]], winner: Speech | None) -> None:
    """End what is not listened to."""
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Speech) and ended is not winner:
            await ended.close()
