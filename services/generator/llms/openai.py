"""Asks servers that speak the OpenAI dialect: vLLM, llama.cpp, Ollama, TGI, Azure, OpenAI and others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from pydantic import Field

from ragline import context
from ragline.settings import SettingsError
from services.generator.llms import Parts, Piece, Usage
from services.generator.llms._bounds import Slots
from services.generator.llms._endpoints import OPENAI_URL, Place, opened
from services.generator.llms._hedging import Hedge
from services.generator.llms._routing import Routes, until
from services.generator.llms._speech import Ask
from services.generator.prompt import Prompt, Style

WAITING = 8

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def load(  # noqa: PLR0913 - each is an option
    parts: Parts,
    *,
    model: str,
    base_url: str | None = None,
    endpoints: list[Place] | None = None,
    style: Style = "passages",
    context: Annotated[int, Field(ge=256)] = 8192,
    max_retries: Annotated[int, Field(ge=0, le=20)] = 2,
    slots: Count = 32,
    first_token_s: Seconds = 60.0,
    idle_s: Seconds = 30.0,
    longest_wait_s: Annotated[float, Field(ge=0)] = 10.0,
    hedge_quantile: Annotated[float, Field(gt=0, lt=1)] | None = None,
) -> OpenAI:
    """``model`` as the server calls it; ``base_url`` ends in ``/v1``; neither it nor ``endpoints``: OpenAI's.

    ``context`` is the model's, in tokens. ``slots`` requests run at a time, eight times as many may wait.
    ``first_token_s`` and ``idle_s`` are the longest silence before and within a text, ``longest_wait_s`` the
    longest wait for endpoints that ask for one. Past ``hedge_quantile`` of the usual time to the first token a
    second endpoint is asked, too. The key is GENERATOR_LLM_API_KEY or its _FILE, or in an endpoint's ``key_file``.
    """
    if base_url and endpoints:
        raise SettingsError("give the LLM base_url or endpoints, not both.")
    if endpoints == []:
        raise SettingsError("the LLM's option endpoints is empty; name one.")
    places = endpoints or [Place(base_url=base_url or OPENAI_URL)]
    routes = Routes(model, opened(places, model, parts), Hedge(hedge_quantile), max_retries, longest_wait_s)
    made = OpenAI(model, routes, Slots(slots, WAITING * slots, model), parts.timeout_s)
    made.style, made.context_tokens = style, context
    made.first_token_s, made.idle_s = first_token_s, idle_s
    return made


class OpenAI:
    """Streams chat completions; closing the stream closes the connection, which stops the server's work."""

    def __init__(self, model: str, routes: Routes, slots: Slots, timeout_s: float) -> None:
        self.name = model
        self.routes = routes
        self.slots = slots
        self.timeout_s = timeout_s
        self.style: Style = "passages"
        self.context_tokens = 8192
        self.first_token_s, self.idle_s = 60.0, 30.0

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """The text as it arrives; see ``LLM.generate``. Until its first word any endpoint may take over."""
        ask = Ask(prompt, max_tokens, temperature, until(self.timeout_s, context.deadline()))
        await self.slots.take()
        try:
            speech = await self.routes.speech(ask, self.first_token_s)
            try:
                async with aclosing(speech.pieces(self.idle_s)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                await speech.close()
        finally:
            self.slots.give_back()

    def cost(self, usage: Usage) -> float:
        """What so many tokens cost where they are bought first."""
        first = min(self.routes.endpoints, key=lambda endpoint: endpoint.place.priority)
        return first.cost(usage)

    async def check(self) -> None:
        """A server elsewhere is not this service's readiness: while it is away, answers are extractive."""

    async def close(self) -> None:
        """Close the connections."""
        await self.routes.close()
