"""Which endpoint is asked, which after it, and when all are asked again."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from ragline.errors import RaglineError, TimedOut, Unavailable
from services.generator.llms._endpoints import Endpoint
from services.generator.llms._hedging import Hedge
from services.generator.llms._refusals import Refusal
from services.generator.llms._speech import Ask, Patience, Speech

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0
# Less time than this is not enough to ask anyone.
LEAST_S = 0.02
# With less than this share of ``first_token_s`` a first word that does not come is no fault of the endpoint.
FAIR = 0.5

log = structlog.get_logger(__name__)


class Exhausted(Exception):
    """No endpoint answered this time round; ``wait_s`` is how long the first that may again is closed."""

    def __init__(self, error: RaglineError, wait_s: float, *, again: bool) -> None:
        super().__init__(error.detail)
        self.error = error
        self.wait_s = wait_s
        self.again = again


class Routes:
    """The endpoints of one model: the lowest priority first, those of the same in proportion to their weights.

    Who is over its limits, has an open breaker or asked to be left alone is passed over; who failed a moment ago
    comes after all others. Where nobody answers they are asked again, ``retries`` times, after a pause of full
    jitter (M. Brooker, Exponential Backoff And Jitter, 2015), or what a server's Retry-After asks for, up to
    ``longest_wait_s`` and as long as there is time.
    """

    def __init__(
        self, name: str, endpoints: Sequence[Endpoint], hedge: Hedge, retries: int, longest_wait_s: float
    ) -> None:
        self.name = name
        self.endpoints = endpoints
        self.hedge = hedge
        self.retries = retries
        self.longest_wait_s = longest_wait_s
        self.random = random.Random()  # noqa: S311 - it spreads load
        self.jitter = wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)

    async def speech(self, ask: Ask, first_token_s: float) -> Speech:
        """An answer that has begun; raises what the last endpoint that was asked stands for."""
        rounds = AsyncRetrying(
            stop=stop_after_attempt(1 + self.retries) | stop_before_delay(max(LEAST_S, ask.left_s() - LEAST_S)),
            wait=self.pause_s,
            retry=retry_if_exception(self.worthwhile),
            before_sleep=self.tell,
            reraise=True,
        )
        try:
            async for attempt in rounds:
                with attempt:
                    return await self.round(ask, first_token_s)
        except Exhausted as exhausted:
            raise exhausted.error from exhausted
        raise TimedOut(f"There was no time left to ask the server of {self.name}.")

    async def round(self, ask: Ask, first_token_s: float) -> Speech:
        """Ask one after the other; raises Exhausted, or at once what no other endpoint would take either."""
        waits: list[float] = []
        async with aclosing(self.candidates(ask, waits)) as candidates:
            return await self.first(candidates, waits, ask, first_token_s)

    async def first(
        self, candidates: AsyncGenerator[Endpoint, None], waits: list[float], ask: Ask, first_token_s: float
    ) -> Speech:
        """The first of the candidates that speaks."""
        last: Refusal | None = None
        again = False

        async def another() -> Endpoint | None:
            return await anext(candidates, None)

        async for endpoint in candidates:
            # Half of the time is for others: an endpoint that hangs leaves them, or another model, the rest.
            half_s = ask.left_s() / 2
            patience = Patience(min(first_token_s, half_s), fair=half_s >= FAIR * first_token_s)
            if patience.seconds < LEAST_S:
                endpoint.left("left")
                raise TimedOut(f"There was no time left to ask the server of {self.name}.")
            try:
                return await self.hedge.first(endpoint, ask, patience, another)
            except Refusal as refusal:
                if not refusal.elsewhere:
                    raise refusal.error from refusal
                last = refusal
                again = again or refusal.again
                if refusal.again:
                    waits.append(refusal.after_s or 0.0)
        wait_s = min(waits, default=0.0)
        error = last.error if last else self.spent(wait_s)
        raise Exhausted(error, wait_s, again=again or last is None)

    async def candidates(self, ask: Ask, waits: list[float]) -> AsyncGenerator[Endpoint, None]:
        """The endpoints that admit the request, best first; how long the others are closed goes to ``waits``."""
        expected = ask.prompt_tokens + ask.max_tokens
        for endpoint in self.ordered():
            if wait_s := await endpoint.admit(expected):
                waits.append(wait_s)
            else:
                yield endpoint

    def ordered(self) -> list[Endpoint]:
        """A new order for each request (Efraimidis and Spirakis, Weighted random sampling, 2006)."""

        def rank(endpoint: Endpoint) -> tuple[bool, int, float]:
            place = endpoint.place
            return endpoint.resting, place.priority, -(self.random.random() ** (1 / place.weight))

        return sorted(self.endpoints, key=rank)

    def spent(self, wait_s: float) -> Unavailable:
        """Nobody could be asked."""
        return Unavailable(
            f"No server of {self.name} takes requests now: all are over their limits, or were away lately.",
            retry_after_s=max(1.0, wait_s),
        )

    def worthwhile(self, error: BaseException) -> bool:
        """Whether another round may go better, soon enough."""
        return isinstance(error, Exhausted) and error.again and error.wait_s <= self.longest_wait_s

    def pause_s(self, state: RetryCallState) -> float:
        """Seconds until the next round: at random, but not before an endpoint takes requests again."""
        error = state.outcome and state.outcome.exception()
        closed_s = error.wait_s if isinstance(error, Exhausted) else 0.0
        return closed_s + self.jitter(state)

    def tell(self, state: RetryCallState) -> None:
        """Log a pause."""
        action: Any = state.next_action
        log.info(
            "LLM servers are asked again",
            llm=self.name,
            pause_s=round(action.sleep, 3),
            tries=state.attempt_number,
        )

    async def close(self) -> None:
        """Close the connections."""
        for endpoint in self.endpoints:
            await endpoint.client.close()


def until(timeout_s: float, deadline: float | None) -> float:
    """The earlier of a time-out from now and a deadline, on ``time.monotonic``'s clock."""
    end = time.monotonic() + timeout_s
    return end if deadline is None else min(end, deadline)
