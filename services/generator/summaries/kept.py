"""What a summary in the making consists of, and where finished ones are kept, by what they are made from."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass

import orjson

from ragline.cache import Cache
from services.generator.events import Anew, Finding, Token
from services.generator.llms import Finish, Usage

PREFIX = "summary:"


@dataclass(frozen=True)
class Titled:
    """A text that is summarised; the id is empty where it came with the request."""

    id: str
    title: str
    characters: int


@dataclass(frozen=True)
class Progress:
    """So many of ``parts`` are done; there may be more than was thought at first."""

    documents: tuple[Titled, ...]
    done: int
    parts: int


@dataclass(frozen=True)
class Attributed:
    """``summary[begin:stop]`` says what the ``quote`` does: a document's source from ``start`` to ``end``.

    Each letter of it that a guard hides is a BLANK.
    """

    begin: int
    stop: int
    document_id: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True)
class Summary:
    """The whole response; ``abstained`` where the guards let nothing be told."""

    summary: str
    usage: Usage
    timings_ms: Mapping[str, float]
    model: str
    degraded: tuple[str, ...]
    citations: tuple[Attributed, ...] = ()
    documents: tuple[Titled, ...] = ()
    finish: Finish = "stop"
    cached: bool = False
    abstained: bool = False
    findings: tuple[Finding, ...] = ()


Event = Progress | Token | Attributed | Summary


class Summaries:
    """A cache of them. What an LLM was away for is not kept."""

    def __init__(self, cache: Cache | None, ttl_s: float) -> None:
        self.cache = cache
        self.ttl_s = ttl_s

    async def keep(
        self, key: str, events: AsyncGenerator[Event | Anew, None]
    ) -> AsyncGenerator[Event | Anew, None]:
        """The events; the summary is kept when it is done."""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Summary) and self.cache and not event.degraded:
                    await self.cache.set_many({key: packed(event)}, self.ttl_s)
                yield event

    async def replay(self, key: str) -> AsyncGenerator[Event | Anew, None] | None:
        """The events of a kept summary; None where there is none."""
        kept = (await self.cache.get_many([key]))[0] if self.cache else None
        return again(kept) if kept else None


def key_of(tenant: str, given: Sequence[Sequence[str]], *choices: str | int) -> str:
    """Everything that a summary depends on."""
    digest = hashlib.sha256()
    for text in (tenant, *map(str, choices), *(part for each in given for part in each)):
        said = text.encode("utf-8", "surrogatepass")
        digest.update(len(said).to_bytes(8, "little"))
        digest.update(said)
    return PREFIX + digest.hexdigest()


def packed(made: Summary) -> bytes:
    """A summary as it is kept."""
    return orjson.dumps(asdict(made))


async def again(kept: bytes) -> AsyncGenerator[Event | Anew, None]:
    """The events of a kept summary, which takes no tokens."""
    fields = orjson.loads(kept)
    documents = tuple(Titled(**each) for each in fields["documents"])
    citations = tuple(Attributed(**each) for each in fields["citations"])
    yield Progress(documents, 1, 1)
    yield Token(fields["summary"])
    for cited in citations:
        yield cited
    yield Summary(
        fields["summary"],
        Usage(),
        {},
        fields["model"],
        (),
        citations,
        documents,
        fields["finish"],
        cached=True,
        abstained=fields["abstained"],
        findings=tuple(Finding(**each) for each in fields["findings"]),
    )
