"""Has a text written by the first of several LLMs that can, within the time there is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import structlog

from ragline import context
from ragline.errors import Internal, Overloaded, RaglineError, TimedOut, TooLarge, Unavailable
from services.generator.events import Anew
from services.generator.llms import LLM, Cut

# A text that an LLM broke off is asked of it so often in all: its next try may go to another server.
TRIES = 2
# What is kept of a request's time for the LLM that needs no model, and at most this share of it.
RESERVE_S, RESERVE = 0.5, 0.25
FAILURES = (Unavailable, TimedOut, Internal)
# Failures that another LLM may not have; without one they are the caller's to know.
TAKEN_OVER = (*FAILURES, Overloaded, TooLarge)

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Named:
    """An LLM by the name it was set up under."""

    name: str
    llm: LLM


class Chain:
    """One text in the making. ``line`` are the LLMs in the order in which they are asked.

    The last one needs no model: it writes what the others could not, and where none of them had anything to say.
    All others together have ``timeout_s`` seconds, and no more than the request's deadline leaves.
    """

    def __init__(
        self,
        line: Sequence[Named],
        timeout_s: float,
        deadline: Callable[[], float | None] = context.deadline,
    ) -> None:
        self.llms, self.last = line[:-1], line[-1]
        self.began = time.monotonic()
        self.timeout_s = timeout_s
        self.deadline = deadline
        self.failed: list[str] = []
        self.settled = False

    @property
    def degraded(self) -> tuple[str, ...]:
        """Who failed, as ``llm:NAME``; "llm" first where all did."""
        names = tuple(f"llm:{name}" for name in self.failed)
        return ("llm", *names) if names and len(names) == len(self.llms) else names

    async def write(self, attempt: Callable[[LLM], AsyncGenerator[T, None]]) -> AsyncGenerator[T | Anew, None]:
        """What an attempt with the first LLM that can says; ``Anew`` where what was said before is void.

        An attempt that rightly said nothing sets ``settled``, or else the last LLM is asked: that another model
        has something to say which the passages support is no more likely than that they say it themselves.
        """
        for named in self.llms:
            said = False
            async with aclosing(self.tried(named, attempt)) as events:
                async for event in events:
                    said = not isinstance(event, Anew)
                    yield event
            if said or self.settled:
                return
            if named.name not in self.failed:
                break
        async with aclosing(attempt(self.last.llm)) as events:
            async for event in events:
                yield event

    async def tried(
        self, named: Named, attempt: Callable[[LLM], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T | Anew, None]:
        """What one LLM says; it is asked again where it broke off, and noted as failed where it could not."""
        for tries_left in reversed(range(TRIES)):
            said = False
            try:
                async with aclosing(self.timely(attempt(named.llm), named.name)) as events:
                    async for event in events:
                        said = True
                        yield event
            except TAKEN_OVER as error:
                again = isinstance(error, Cut) and tries_left > 0
                self.failing(named, error, again=again)
                if said:
                    yield Anew(error.detail)
                if not again:
                    return
            else:
                return

    def failing(self, named: Named, error: RaglineError, *, again: bool) -> None:
        """Note a failure; raises it where nothing else can take over."""
        if not isinstance(error, FAILURES) and len(self.llms) == 1:
            raise error
        log.warning("an LLM failed", llm=named.name, reason=error.detail, again=again)
        if not again:
            self.failed.append(named.name)

    async def timely(self, events: AsyncGenerator[T, None], name: str) -> AsyncGenerator[T, None]:
        """The events, as long as there is time; raises TimedOut after that."""
        late = TimedOut(f"LLM {name} did not finish in GENERATOR_LLM_TIMEOUT_S or the request's own time.")
        async with aclosing(events):
            while True:
                left_s = self.left_s()
                if left_s <= 0:
                    raise late
                try:
                    with context.bind(timeout_s=left_s):
                        async with asyncio.timeout(left_s):
                            event = await anext(events)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise late from None
                yield event

    def left_s(self) -> float:
        """Seconds that LLMs with a model still have."""
        now = time.monotonic()
        left_s = self.began + self.timeout_s - now
        if (end := self.deadline()) is None:
            return left_s
        return min(left_s, end - min(RESERVE_S, RESERVE * (end - self.began)) - now)
