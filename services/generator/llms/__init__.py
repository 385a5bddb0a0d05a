"""What writes text: one small interface, a file for each kind of LLM."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import SecretStr

from ragline.errors import Unavailable
from ragline.rates import LocalRates, Rates
from services.generator.prompt import Prompt, Style

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Usage:
    """Tokens read and written, as the LLM counts them; ``cost`` by its prices, where these are set."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """The sum of two calls."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
        )


@dataclass(frozen=True)
class Piece:
    """A piece of the text as it is written; the last one carries the usage.

    ``finish`` says why the text ended, where it did: "stop", or "length" where ``max_tokens`` cut it short.
    """

    text: str = ""
    usage: Usage | None = None
    finish: Finish | None = None


class Cut(Unavailable):
    """A text broke off after it had begun: what came of it is void, and another try may go elsewhere."""


class LLM(Protocol):
    """Writes what a prompt asks for."""

    name: str
    """What a response calls it."""
    style: Style
    """How it is best asked for an answer."""
    context_tokens: int
    """Most tokens of a prompt and its text together."""

    def generate(self, prompt: Prompt, *, max_tokens: int, temperature: float) -> AsyncGenerator[Piece, None]:
        """The text, piece by piece, then a piece with the usage.

        Closing the generator stops the work within a token. Raises Overloaded where too many wait,
        Unavailable where the LLM cannot be reached, Cut where it broke off, TimedOut, or TooLarge for a prompt
        over its context.
        """
        ...

    async def check(self) -> None:
        """Raise Unavailable where it cannot write now."""
        ...

    async def close(self) -> None:
        """Let go of models and connections."""
        ...


@dataclass(frozen=True)
class Parts:
    """What an LLM is handed: where models are, the key, the threads it may use, its time limit.

    ``rates`` count what is asked of servers elsewhere, over all replicas where they share a Redis.
    """

    model: Callable[[str], Path]
    api_key: SecretStr | None
    threads: int
    timeout_s: float
    rates: Rates = field(default_factory=LocalRates)
