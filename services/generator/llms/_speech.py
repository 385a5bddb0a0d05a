"""One answer of one endpoint, from its first word to its end; told from one that was cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import structlog

from ragline.errors import TimedOut, Unavailable
from services.generator.llms import Cut, Finish, Piece, Usage
from services.generator.llms._endpoints import Endpoint
from services.generator.llms._refusals import Refusal, refusal
from services.generator.prompt import Prompt, tokens

# What comes of a server that is away, breaks off, or says what is no chunk of an answer. Only newer versions of
# the package wrap failures of the connection, and all make chunks of whatever JSON they are sent.
FAILURES = (openai.APIError, httpx.HTTPError, OSError, ValueError, TypeError, AttributeError, KeyError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ask:
    """What a server is asked, and until when on ``time.monotonic``'s clock."""

    prompt: Prompt
    max_tokens: int
    temperature: float
    end: float

    @property
    def prompt_tokens(self) -> int:
        """An estimate of the tokens that are sent."""
        return sum(tokens(message["content"]) + 4 for message in self.prompt.messages)

    def body(self, endpoint: Endpoint) -> dict[str, Any]:
        """The request in the OpenAI dialect."""
        return self.prompt.response_format | {
            "model": endpoint.model,
            "messages": self.prompt.messages,
            "temperature": self.temperature,
            endpoint.place.limit_field: self.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def left_s(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()


@dataclass(frozen=True)
class Patience:
    """How long a first word is waited for; not ``fair``: a caller in a hurry blames nobody who is slower."""

    seconds: float
    fair: bool = True


class Speech:
    """An answer that has begun. ``also`` is what a second endpoint cost that was asked at the same time."""

    def __init__(self, endpoint: Endpoint, ask: Ask, stream: Any, first: Any, first_s: float) -> None:
        self.endpoint, self.ask, self.stream = endpoint, ask, stream
        self.first = first
        self.first_s = first_s
        self.text = ""
        self.finish: str | None = None
        self.usage: Usage | None = None
        self.also = 0.0
        self.ended = False

    async def pieces(self, idle_s: float) -> AsyncGenerator[Piece, None]:
        """The text and at its end the usage; raises Cut where it breaks off, after what it had cost so far."""
        chunk: Any = self.first
        try:
            while chunk is not None:
                if text := self.read(chunk):
                    self.text += text
                    yield Piece(text)
                chunk = await self.following(idle_s)
        except (*FAILURES, TimeoutError) as error:
            if self.finish is None:
                yield Piece(usage=self.spent())
                raise self.broken(error) from error
        if self.finish is None:
            yield Piece(usage=self.spent())
            raise self.cut("it ended without a finish_reason")
        self.ended = True
        self.endpoint.succeeded()
        if self.finish == "content_filter":
            yield Piece(usage=self.spent())
            raise Unavailable(f"The server of {self.endpoint.model} withheld the rest by its content filter.")
        finish: Finish = "length" if self.finish == "length" else "stop"
        yield Piece(usage=self.spent(), finish=finish)

    async def following(self, idle_s: float) -> Any:
        """The next chunk; None at the end."""
        async with asyncio.timeout(min(idle_s, self.ask.left_s())):
            return await anext(self.stream, None)

    def read(self, chunk: Any) -> str:
        """The text of a chunk; its finish and usage are kept."""
        if usage := getattr(chunk, "usage", None):
            self.usage = Usage(int(usage.prompt_tokens), int(usage.completion_tokens))
        text = ""
        for choice in getattr(chunk, "choices", None) or ():
            self.finish = choice.finish_reason or self.finish
            text += (choice.delta and choice.delta.content) or ""
        return text

    def spent(self) -> Usage:
        """The tokens as the server counts them, or an estimate, and their cost."""
        used = self.usage or Usage(self.ask.prompt_tokens, tokens(self.text))
        return Usage(used.prompt_tokens, used.completion_tokens, self.endpoint.cost(used) + self.also)

    def broken(self, error: Exception) -> Cut | TimedOut:
        """It broke off, or there is no time left for it, which is nobody's fault."""
        if self.ask.left_s() > 0:
            return self.cut(f"{type(error).__name__}: {error}")
        self.ended = True
        self.endpoint.left("late")
        return TimedOut(f"{self.endpoint.model} did not finish in the time there was; allow it more.")

    def cut(self, reason: str) -> Cut:
        """It broke off."""
        self.ended = True
        log.warning("the LLM's text broke off", endpoint=self.endpoint.name, reason=reason)
        error = Cut(f"The server of {self.endpoint.model} broke off in the middle of its text.")
        self.endpoint.failed("cut", error)
        return error

    async def close(self, outcome: str = "left") -> None:
        """Let go of the connection, which stops the server's work."""
        if not self.ended:
            self.ended = True
            self.endpoint.left(outcome)
        await self.stream.close()


async def begun(endpoint: Endpoint, ask: Ask, patience: Patience) -> Speech:
    """Ask an endpoint that admitted the request, and wait for its first word; raises Refusal."""
    began = time.monotonic()
    stream: Any = None
    try:
        async with asyncio.timeout(min(patience.seconds, ask.left_s())):
            stream = await endpoint.client.chat.completions.create(**ask.body(endpoint))
            first = await first_word(stream)
        return Speech(endpoint, ask, stream, first, time.monotonic() - began)
    except (*FAILURES, TimeoutError) as error:
        if stream is not None:
            await stream.close()
        refused = refusal(error, endpoint.model, endpoint.name)
        settle(endpoint, refused, fair=patience.fair)
        raise refused from error
    except BaseException:  # cancelled: nobody wants it any more
        endpoint.left("left")
        if stream is not None:
            await stream.close()
        raise


async def first_word(stream: Any) -> Any:
    """The first chunk that says something or ends the text; raises ValueError where there is none."""
    async for chunk in stream:
        for choice in getattr(chunk, "choices", None) or ():
            delta = choice.delta
            if choice.finish_reason or (delta and (delta.content or getattr(delta, "reasoning_content", None))):
                return chunk
    raise ValueError("the stream ended before it said anything")


def settle(endpoint: Endpoint, refused: Refusal, *, fair: bool) -> None:
    """Tell the endpoint how it did."""
    if refused.outcome == "timeout" and not fair:
        endpoint.late()
        return
    if refused.outcome == "busy":
        endpoint.busy(refused.after_s)
    elif refused.outcome == "rejected":
        endpoint.left("rejected")
    else:
        endpoint.failed(refused.outcome, refused.error)
        if refused.after_s:
            endpoint.closed_until = time.monotonic() + refused.after_s
