"""Scorers that answer, fail and hang as they are told."""

import asyncio
import math
import threading
from collections.abc import Sequence

from ragline import context
from ragline.errors import (
    Forbidden,
    Internal,
    InvalidRequest,
    Overloaded,
    RaglineError,
    TimedOut,
    TooLarge,
    Unavailable,
)
from services.reranker.scorers import Candidate, Match, Statistics

RAISED: dict[str, BaseException] = {
    "unavailable": Unavailable("It is away."),
    "timed_out": TimedOut("It took too long."),
    "overloaded": Overloaded("It is full."),
    "internal": Internal(),
    "error": ZeroDivisionError("a secret of the scorer"),
    "memory": MemoryError(),
    "refused": Forbidden("Its key is wrong."),
    "cancelled": asyncio.CancelledError(),
    "caller": InvalidRequest("The scorer takes no such thing."),
    "large": TooLarge("The scorer takes no more than that."),
}
SCORES: dict[str, list[float]] = {"nan": [math.nan], "infinite": [math.inf], "few": []}
FAILURES = [*(name for name in RAISED if name not in {"caller", "large"}), *SCORES, "many"]
REASONS = {"memory": "error", "cancelled": "unavailable"} | dict.fromkeys([*SCORES, "many"], "internal")


class Odd:
    """Scores passages by the number in their text; ``does`` is what it does instead, from now on."""

    name = "odd"
    calibration: object = None

    def __init__(self, does: str = "", sign: int = 1) -> None:
        self.does = does
        self.sign = sign
        self.calls = 0
        self.deadlines: list[float | None] = []
        self.came = asyncio.Event()
        self.go = asyncio.Event()
        self.left = asyncio.Event()

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        self.calls += 1
        self.deadlines.append(context.deadline())
        self.came.set()
        if self.does == "hang":
            try:
                await self.go.wait()
            finally:
                self.left.set()
        elif self.does == "stay":
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    self.left.set()
        elif self.does in RAISED:
            raise again(RAISED[self.does])
        scores = [self.sign * float(each.text.split()[-1]) for each in passages]
        if self.does in SCORES:
            return scores[:-1] + SCORES[self.does]
        return [*scores, 1.0] if self.does == "many" else scores


class Explaining(Odd):
    """Says that each passage matches from its start; ``explains`` is what it does instead."""

    explains = ""

    async def explain(self, query: str, passages: Sequence[str]) -> Sequence[Sequence[Match]]:
        if self.explains == "hang":
            await self.go.wait()
        elif self.explains in RAISED:
            raise again(RAISED[self.explains])
        return [[Match(0, len(text), 0, 1, 1.0)] for text in passages][self.explains == "few" :]


class Blocking:
    """A plain scorer whose thread waits until it may go on."""

    name = "blocking"

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.go = threading.Event()
        self.threads: list[threading.Thread] = []

    def score(self, query: str, passages: Sequence[Candidate], statistics: Statistics | None) -> list[float]:
        self.threads.append(threading.current_thread())
        self.came.release()
        self.go.wait()
        return [0.0] * len(passages)


def again(error: BaseException) -> BaseException:
    """The like of an error that was not raised yet."""
    return (
        type(error)(error.detail) if isinstance(error, RaglineError) and error.detail else type(error)(*error.args)
    )


def passages(count: int) -> list[Candidate]:
    """Passages that ``Odd`` scores 0, 1, 2 and so on."""
    return [Candidate(f"passage {number}") for number in range(count)]
