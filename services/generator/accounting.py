"""Counts what LLMs write: tokens and their cost by tenant and model, how texts ended, and how fast they came."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ragline import context, metrics
from ragline.errors import RaglineError
from services.generator.llms import LLM, Piece, Usage
from services.generator.prompt import Prompt, tokens
from services.generator.prompts.writing import Counting
from services.generator.spending import spend

OTHERS = "other"
PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)


class Tenants:
    """Names of tenants as labels: the first ``limit`` that come by their own, all others as one."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.known: set[str] = set()

    def label(self, tenant: str) -> str:
        """What a tenant is counted as."""
        if tenant not in self.known and len(self.known) < self.limit:
            self.known.add(tenant)
        return tenant if tenant in self.known else OTHERS


class Counted:
    """An LLM whose texts are counted for the tenant that ``context.caller`` names."""

    def __init__(self, llm: LLM, tenants: Tenants) -> None:
        self.llm = llm
        self.tenants = tenants
        self.name, self.style, self.context_tokens = llm.name, llm.style, llm.context_tokens
        by = ("tenant", "model")
        self.tokens = metrics.counter("ragline_llm_tokens", "Tokens that LLMs read and wrote.", (*by, "direction"))
        about = "Cost of LLMs by the prices that are set, in their currency."
        self.cost = metrics.counter("ragline_llm_cost", about, by)
        self.texts = metrics.counter("ragline_llm_texts", "Texts of LLMs by how they ended.", ("model", "outcome"))
        about = "From the request to the first token, waiting for a slot and other endpoints included."
        self.first_s = metrics.histogram("ragline_llm_first_token_seconds", about, ("model",))
        about = "Time for each token after the first."
        self.token_s = metrics.histogram("ragline_llm_output_token_seconds", about, ("model",), PER_TOKEN_S)

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """The text of the LLM."""
        text = Text(prompt)
        outcome = "left"
        pieces = self.llm.generate(prompt, max_tokens=max_tokens, temperature=temperature)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    text.add(piece)
                    yield piece
            outcome = "ok"
        except RaglineError as error:
            outcome = type(error).__name__.lower()
            raise
        finally:
            self.count(text, outcome)

    def count(self, text: Text, outcome: str) -> None:
        """Add a text that ended to the figures."""
        used = text.usage or self.estimated(text)
        spend(used)
        tenant = self.tenants.label(context.caller().tenant)
        self.tokens.labels(tenant, self.name, "in").inc(used.prompt_tokens)
        self.tokens.labels(tenant, self.name, "out").inc(used.completion_tokens)
        self.cost.labels(tenant, self.name).inc(used.cost)
        self.texts.labels(self.name, outcome).inc()
        if text.first_at:
            self.first_s.labels(self.name).observe(text.first_at - text.began)
            if used.completion_tokens > 1:
                between_s = text.last_at - text.first_at
                self.token_s.labels(self.name).observe(between_s / (used.completion_tokens - 1))

    def estimated(self, text: Text) -> Usage:
        """What a text took whose end nobody waited for; nothing where it had not begun."""
        if not text.first_at:
            return Usage()
        used = Usage(sum(tokens(each["content"]) for each in text.prompt.messages), tokens(text.said))
        price = getattr(self.llm, "cost", None)
        return Usage(used.prompt_tokens, used.completion_tokens, price(used) if price else 0.0)

    async def check(self) -> None:
        """See ``LLM.check``."""
        await self.llm.check()

    async def close(self) -> None:
        """See ``LLM.close``."""
        await self.llm.close()


class CountedCounting(Counted):
    """One that can say itself how many tokens it makes of texts."""

    def __init__(self, llm: LLM, counting: Counting, tenants: Tenants) -> None:
        super().__init__(llm, tenants)
        self.counting = counting

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See ``Counting.count_tokens``."""
        return await self.counting.count_tokens(texts)


def counted(llm: LLM, tenants: Tenants) -> LLM:
    """The LLM, with its texts counted."""
    return CountedCounting(llm, llm, tenants) if isinstance(llm, Counting) else Counted(llm, tenants)


class Text:
    """A text as it comes."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.began = time.perf_counter()
        self.first_at = self.last_at = 0.0
        self.said = ""
        self.usage: Usage | None = None

    def add(self, piece: Piece) -> None:
        """Take note of a piece."""
        if piece.text:
            self.last_at = time.perf_counter()
            self.first_at = self.first_at or self.last_at
            self.said += piece.text
        self.usage = piece.usage or self.usage
