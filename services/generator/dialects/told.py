"""Tells an answer as OpenAI's clients read it, with what they do not know in fields of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field

from services.generator import wire
from services.generator.api import CitationBody
from services.generator.events import Anew, Cited, Done, Event, Passages, Spent, Token
from services.generator.llms import Usage

Reason = Literal["stop", "length", "content_filter"]
PREFIX = "chatcmpl-"
# What has a place of its own in the dialect.
ELSEWHERE = {"answer", "citations", "usage", "finish", "model"}


class SaidBody(BaseModel):
    """The answer. The citations' markers stand in its text."""

    role: Literal["assistant"]
    content: str
    refusal: None = None
    citations: list[CitationBody]


class ChoiceBody(BaseModel):
    """The one answer."""

    index: Literal[0]
    message: SaidBody
    finish_reason: Reason = Field(description="length: max_tokens cut it; content_filter: a guard withheld some")
    logprobs: None = None


class TokensBody(BaseModel):
    """Tokens that this request took, for rewriting the question, too; an answer that was kept took none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionBody(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str = Field(description="as it was asked for")
    choices: list[ChoiceBody]
    usage: TokensBody
    ragline: dict[str, Any] = Field(
        description="the answer's id (for feedback) and what /generate says beyond text, citations and usage: "
        "abstained, degraded, generation, cached, llm, prompt, timings_ms, and findings, unsupported, query, "
        "explain and passages where there are any"
    )


@dataclass
class Telling:
    """One request's answer in the making; ``passages`` are wanted, or not, and so is the ``usage`` of a stream."""

    model: str
    id: str
    passages: bool = False
    usage: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    shown: list[dict[str, Any]] = field(default_factory=list)
    cited: int = 0

    async def whole(self, events: AsyncGenerator[Event | Anew, None]) -> dict[str, Any]:
        """The completion, once there is all of it."""
        made: dict[str, Any] = {}
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Passages):
                    self.show(event)
                elif isinstance(event, Done):
                    made = self.completion(event)
        return made

    async def chunks(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Mapping[str, Any], None]:
        """The chunks of a stream, as they come."""
        async with aclosing(events):
            async for event in events:
                for chunk in self.told(event):
                    yield chunk

    def told(self, event: Event) -> Iterator[dict[str, Any]]:
        """The chunks that an event becomes."""
        match event:
            case Passages():
                self.show(event)
                yield self.chunk({"role": "assistant", "content": ""})
            case Token():
                yield self.chunk({"content": event.text})
            case Cited():
                # With an index, clients that join chunks put each in its place.
                said = {"index": self.cited, **wire.citation(event.citation)}
                self.cited += 1
                yield self.chunk({"citations": [said]})
            case Spent():
                return
            case Done():
                citations = [wire.citation(each) for each in event.outcome.citations]
                more = {**self.more(event), "citations": citations}
                yield self.chunk({}, reason(event)) | {"ragline": more}
                if self.usage:
                    yield self.chunk({}) | {"choices": [], "usage": tokens(event.outcome.usage)}

    def chunk(self, delta: Mapping[str, Any], finish: Reason | None = None) -> dict[str, Any]:
        """A piece of a stream."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        made = self.head("chat.completion.chunk") | {"choices": [choice]}
        return made | {"usage": None} if self.usage else made

    def completion(self, done: Done) -> dict[str, Any]:
        """A whole answer."""
        citations = [{"index": at, **wire.citation(each)} for at, each in enumerate(done.outcome.citations)]
        said = {
            "role": "assistant",
            "content": done.outcome.answer,
            "refusal": None,
            "citations": citations,
        }
        choice = {"index": 0, "message": said, "finish_reason": reason(done), "logprobs": None}
        usage = tokens(done.outcome.usage)
        return self.head("chat.completion") | {"choices": [choice], "usage": usage, "ragline": self.more(done)}

    def head(self, kind: str) -> dict[str, Any]:
        """What every object begins with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def more(self, done: Done) -> dict[str, Any]:
        """What the dialect has no place for."""
        told = {name: value for name, value in wire.answer(done).items() if name not in ELSEWHERE}
        told |= {"llm": done.outcome.model, "cost": done.outcome.usage.cost}
        return told | {"passages": self.shown} if self.passages else told

    def show(self, event: Passages) -> None:
        """Keep the passages, where they are wanted."""
        if self.passages:
            self.shown = [wire.passage(each.passage, each.score) for each in event.ranked]


def reason(done: Done) -> Reason:
    """Why the text ended."""
    if any((finding.stage, finding.action) == ("answer", "refuse") for finding in done.findings):
        return "content_filter"
    return done.outcome.finish


def tokens(usage: Usage) -> dict[str, int]:
    """The usage as the dialect counts it."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
