"""Asks any server that speaks the OpenAI dialect: vLLM, llama.cpp, Ollama, OpenAI and others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import openai
import structlog
from openai import AsyncOpenAI
from pydantic import Field

from ragline.errors import Internal, InvalidRequest, Overloaded, RaglineError, TimedOut, TooLarge, Unavailable
from services.generator.llms import Parts, Piece, Usage
from services.generator.llms._bounds import Slots, within
from services.generator.prompt import Prompt, Style

OPENAI_URL = "https://api.openai.com/v1"
WAITING = 8

Count = Annotated[int, Field(ge=1)]

log = structlog.get_logger(__name__)


def load(
    parts: Parts,
    *,
    model: str,
    base_url: str | None = None,
    style: Style = "passages",
    context: Annotated[int, Field(ge=256)] = 8192,
    max_retries: Annotated[int, Field(ge=0)] = 2,
    slots: Count = 32,
) -> OpenAI:
    """``model`` as the server calls it; ``base_url`` ends in ``/v1`` (absent: OpenAI's own).

    ``context`` is the model's, in tokens. ``slots`` requests run at a time, eight times as many may wait. The key
    is GENERATOR_LLM_API_KEY or its _FILE.
    """
    client = AsyncOpenAI(
        # A server without keys takes any; the package insists on one and would look into the environment.
        api_key=parts.api_key.get_secret_value() if parts.api_key else "none",
        base_url=base_url or OPENAI_URL,
        timeout=parts.timeout_s,
        max_retries=max_retries,
    )
    made = OpenAI(client, model, Slots(slots, WAITING * slots, model), parts.timeout_s)
    made.style, made.context_tokens = style, context
    # OpenAI's newer models take only the new name of the limit, other servers often only the old one.
    made.limit_name = "max_tokens" if base_url else "max_completion_tokens"
    return made


class OpenAI:
    """Streams chat completions; closing the stream closes the connection, which stops the server's work."""

    def __init__(self, client: AsyncOpenAI, model: str, slots: Slots, timeout_s: float) -> None:
        self.client = client
        self.name = model
        self.slots = slots
        self.timeout_s = timeout_s
        self.style: Style = "passages"
        self.context_tokens = 8192
        self.limit_name = "max_tokens"

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """The text as it arrives; see ``LLM.generate``."""
        await self.slots.take()
        try:
            pieces = within(self.pieces(prompt, max_tokens, temperature), self.timeout_s)
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        except openai.APIError as error:
            raise mapped(error, self.name) from error
        finally:
            self.slots.give_back()

    async def pieces(self, prompt: Prompt, max_tokens: int, temperature: float) -> AsyncGenerator[Piece, None]:
        """The pieces of one request; raises the package's errors."""
        messages: Any = prompt.messages
        limit: Any = {self.limit_name: max_tokens}
        stream = await self.client.chat.completions.create(
            model=self.name,
            messages=messages,
            temperature=temperature,
            stream=True,
            stream_options={"include_usage": True},
            **limit,
        )
        async with stream:
            async for chunk in stream:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield Piece(text)
                if chunk.usage:
                    yield Piece(usage=Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens))

    async def check(self) -> None:
        """A server elsewhere is not this service's readiness: while it is away, answers are extractive."""

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


def mapped(error: openai.APIError, name: str) -> RaglineError:
    """The package's error as a row of the table; what only the operator can mend goes to the log."""
    match error:
        case openai.APIStatusError():
            return refused(error, name)
        case openai.APITimeoutError():
            return TimedOut(f"The server of {name} did not answer in GENERATOR_LLM_TIMEOUT_S; allow more time.")
        case openai.APIConnectionError():
            return Unavailable(f"The server of {name} cannot be reached.")
    log.error("the LLM's stream broke", model=name, reason=error.message)
    return Internal()


def refused(error: openai.APIStatusError, name: str) -> RaglineError:
    """What a status of the server means for our caller."""
    match error:
        case openai.RateLimitError():
            given = error.response.headers.get("retry-after", "")
            wait_s = float(given) if given.isdecimal() else 1.0
            return Overloaded(f"The server of {name} takes no more requests now.", retry_after_s=wait_s)
        case openai.AuthenticationError() | openai.PermissionDeniedError() | openai.NotFoundError():
            log.error("the LLM's server refuses us", model=name, status=error.status_code, reason=error.message)
            return Unavailable(f"The server of {name} refuses this service: its key, model or base_url is wrong.")
        case openai.BadRequestError() if "context" in error.message.lower():
            return TooLarge(f"The prompt is longer than {name} can take; set its option context to what it has.")
        case openai.BadRequestError() | openai.UnprocessableEntityError():
            return InvalidRequest(f"The server of {name} does not accept the request: {error.message[:200]}")
    return Unavailable(f"The server of {name} failed with status {error.status_code}.")
