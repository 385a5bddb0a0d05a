"""Scorers that nobody wants to serve, each broken in a way of its own."""

import asyncio
import random
import threading
from collections.abc import Sequence

from ragline.errors import Unavailable
from services.reranker.scorers import Candidate, Parts, Statistics

UNTIL = threading.Event()  # what hangs ends when this is set
CLOSED: list[str] = []


class Guessing:
    """Scores as from a head that was never trained: the same for the same pair, and of no meaning."""

    name = "guessing"
    pairwise = True

    def __init__(self, parts: Parts, seed: int = 0) -> None:
        self.seed = seed

    async def close(self) -> None:
        CLOSED.append(self.name)

    def score(self, query: str, passages: Sequence[Candidate], statistics: Statistics | None) -> list[float]:
        return [random.Random(f"{self.seed}{query}{each.text}").random() for each in passages]


class NotNumbers(Guessing):
    name = "not_numbers"

    def score(self, query: str, passages: Sequence[Candidate], statistics: Statistics | None) -> list[float]:
        return [float("nan") if "nul" in each.text else 1.0 for each in passages]


class TooFew(Guessing):
    name = "too_few"

    def score(self, query: str, passages: Sequence[Candidate], statistics: Statistics | None) -> list[float]:
        return [1.0 for each in passages if each.text.strip()]


class Restless(Guessing):
    name = "restless"

    def score(self, query: str, passages: Sequence[Candidate], statistics: Statistics | None) -> list[float]:
        return [random.random() for _ in passages]


class ByPlace(Guessing):
    name = "by_place"

    def score(self, query: str, passages: Sequence[Candidate], statistics: Statistics | None) -> list[float]:
        return [float(place) for place, _ in enumerate(passages)]


class Slow(Guessing):
    name = "slow"

    async def score(  # type: ignore[override]  # either is a scorer
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> list[float]:
        await asyncio.sleep(0.02)
        return [0.0 for _ in passages]


class Hungry:
    name = "hungry"

    def __init__(self, parts: Parts) -> None:
        raise MemoryError


class Quitting:
    name = "quitting"

    def __init__(self, parts: Parts) -> None:
        raise SystemExit(3)


class FailsToStart(Guessing):
    name = "fails_to_start"

    async def start(self) -> None:
        raise ValueError("no such device")


class Away(Guessing):
    name = "away"

    async def check(self) -> None:
        raise Unavailable("The server of this scorer does not answer.")


class FailsToClose(Guessing):
    name = "fails_to_close"

    async def close(self) -> None:
        raise RuntimeError("already closed")


class Hanging(Guessing):
    name = "hanging"

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        UNTIL.wait(60)


class Keyed(Guessing):
    name = "keyed"

    def __init__(self, parts: Parts, api_key: str) -> None:
        super().__init__(parts)
        self.api_key = api_key
