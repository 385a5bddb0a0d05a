"""Summarises text of any length: each part by itself, then the summaries' summary, until one is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from ragline.errors import Internal, InvalidRequest, TooLarge, Unavailable
from ragline.sentences import sentences
from services.generator import centrality, prompt
from services.generator.citations import Needs, number, unmarked
from services.generator.claims import Claims
from services.generator.clock import Clock
from services.generator.events import Anew, Token
from services.generator.evidence import Sentence, words
from services.generator.llms import LLM, Usage
from services.generator.prompts import Prompts, shipped
from services.generator.prompts.writing import summary
from services.generator.room import Room
from services.generator.roster import LAST, Roster
from services.generator.sources import Sources

# A part is at most this long: small models lose the thread sooner than their context ends.
PART_TOKENS = 1200
OVERHEAD_TOKENS = 120
# This share of a claim's words must stand in the text; a claim with so many words for each different one stutters.
LEAST_KNOWN = 0.6
STUTTER = 3


@dataclass(frozen=True)
class Summary:
    """The whole response."""

    summary: str
    usage: Usage
    timings_ms: dict[str, float]
    model: str
    degraded: tuple[str, ...]


@dataclass(frozen=True)
class Texts:
    """What to summarise: a text, or documents of a collection by id."""

    tenant: str
    collection: str
    text: str | None
    document_ids: Sequence[str] = ()


@dataclass
class Work:
    """One summary in the making."""

    max_tokens: int
    clock: Clock = field(default_factory=Clock)
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    degraded: tuple[str, ...] = ()


class Summarizer:
    """Of ``llms`` the one that needs no model picks the most central sentences where the others are away."""

    def __init__(
        self, sources: Sources, llms: Roster, room: Room, limits: Limits, prompts: Prompts | None = None
    ) -> None:
        self.sources, self.llms = sources, llms
        self.room = room
        self.limits = limits
        self.prompts = prompts or shipped()

    async def summarize(self, texts: Texts, max_tokens: int) -> Summary:
        """The whole summary at once."""
        async with aclosing(self.events(texts, max_tokens)) as events:
            async for event in events:
                if isinstance(event, Summary):
                    return event
        raise Internal

    async def stream(self, texts: Texts, max_tokens: int) -> AsyncGenerator[Token | Summary, None]:
        """The summary as it is written; ``Summary`` is the last event.

        Raises TooLarge, NotFound, or Unavailable where the LLM breaks off after something was said.
        """
        async with aclosing(self.events(texts, max_tokens)) as events:
            async for event in events:
                if isinstance(event, Anew):
                    raise Unavailable(f"The summary broke off: {event.reason} Forget its beginning and ask again.")
                yield event

    async def events(self, texts: Texts, max_tokens: int) -> AsyncGenerator[Token | Anew | Summary, None]:
        """The summary as it is written; what came before ``Anew`` is void."""
        work = Work(max_tokens, model=self.llms.default.name)
        with self.room.enter():
            with work.clock.stage("fetch"):
                text = await self.text(texts)
            with work.clock.stage("generate"):
                budget = self.part_tokens(max_tokens)
                while len(parts := await asyncio.to_thread(split, text, budget)) > 1:
                    text = await self.reduced(parts, work, len(text))
            said = ""
            async with aclosing(self.written(parts[0], max_tokens, work)) as claims:
                async for claim in claims:
                    if isinstance(claim, Anew):
                        said = ""
                        yield claim
                        continue
                    piece = f" {claim}" if said else claim
                    said += piece
                    yield Token(piece)
        yield Summary(said, work.usage, work.clock.total({}), work.model, work.degraded)

    async def text(self, texts: Texts) -> str:
        """What is to be summarised, one document after the other."""
        found = texts.text
        if found is None:
            ids = dict.fromkeys(texts.document_ids)
            documents = [await self.sources.document(texts.tenant, texts.collection, each) for each in ids]
            found = "\n\n".join(document.source for document in documents)
        if len(found) > self.limits.max_chars:
            raise TooLarge(
                f"The text has {len(found)} characters, over the {self.limits.max_chars} of "
                "GENERATOR_MAX_SUMMARY_CHARS; summarise its parts."
            )
        if not sentences(found):
            raise InvalidRequest("There is no text to summarise; send some.", field="text")
        return found

    def part_tokens(self, max_tokens: int) -> int:
        """How long a part may be so that it and its summary fit the LLM's context."""
        return max(64, min(PART_TOKENS, self.llms.default.context_tokens - max_tokens - OVERHEAD_TOKENS))

    async def reduced(self, parts: Sequence[str], work: Work, length: int) -> str:
        """The summaries of the parts, joined; always shorter than what they summarise."""
        limit = min(work.max_tokens, self.part_tokens(work.max_tokens) // 4)
        slots = asyncio.Semaphore(self.limits.parallel)

        async def one(part: str) -> str:
            async with slots:
                claims: list[str] = []
                async for claim in self.written(part, limit, work):
                    claims = [] if isinstance(claim, Anew) else [*claims, claim]
                return " ".join(claims)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(part)) for part in parts]
        text = "\n\n".join(task.result() for task in tasks)
        return text if len(text) < 0.7 * length else text[: int(0.7 * length)]

    async def written(self, part: str, max_tokens: int, work: Work) -> AsyncGenerator[str | Anew, None]:
        """The sentences of a part's summary, less those that do not come from the part; see ``faithful``."""
        spans = sentences(part)
        found = [Sentence(0, start, end, part[start:end]) for start, end in spans]
        ranked = await asyncio.to_thread(centrality.ranked, found)
        ask = summary(self.prompts, part, ranked)
        known = {number(word) for word in words(part)}

        async def attempt(llm: LLM) -> AsyncGenerator[str, None]:
            work.model = llm.name
            picks = llm.name == LAST
            async with aclosing(self.claims(llm, ask, max_tokens, work)) as claims:
                async for claim in claims:
                    if picks or faithful(claim, known):
                        yield claim

        chain = self.llms.chain()
        async with aclosing(chain.write(attempt)) as claims:
            async for claim in claims:
                yield claim
        work.degraded = tuple(dict.fromkeys([*work.degraded, *chain.degraded]))

    async def claims(self, llm: LLM, ask: prompt.Prompt, max_tokens: int, work: Work) -> AsyncGenerator[str, None]:
        """The sentences that an LLM writes, each once."""
        claims = Claims()
        seen: set[str] = set()
        async with aclosing(llm.generate(ask, max_tokens=max_tokens, temperature=0.0)) as pieces:
            async for piece in pieces:
                work.usage += piece.usage or Usage()
                for claim in fresh(claims.feed(piece.text), seen):
                    yield claim
        for claim in fresh(claims.finish(), seen):
            yield claim


@dataclass(frozen=True)
class Limits:
    """The longest text, in characters, and the parts of one that are summarised at once."""

    max_chars: int
    parallel: int


def faithful(claim: str, known: set[str]) -> bool:
    """Whether a claim has no number or name that the text lacks, most of its words, and is no stutter."""
    needs = Needs(claim)
    if not needs.words or not needs.numbers | needs.names <= known:
        return False
    said = words(claim)
    return len(needs.words & known) >= LEAST_KNOWN * len(needs.words) and len(said) < STUTTER * len(set(said))


def fresh(claims: Iterable[str], seen: set[str]) -> Iterator[str]:
    """The claims that were not seen, tidied: small models repeat themselves."""
    for raw in claims:
        claim = unmarked(raw)
        if claim and claim not in seen:
            seen.add(claim)
            yield claim


def split(text: str, budget: int) -> list[str]:
    """The text in parts of at most ``budget`` tokens, cut between sentences, or in one that is longer."""
    parts: list[str] = []
    begin = end = 0
    for start, stop in sentences(text):
        if end > begin and prompt.tokens(text[begin:stop]) > budget:
            parts.append(text[begin:end])
            begin = start
        while prompt.tokens(text[begin:stop]) > budget:
            cut = begin + max(1, int(budget / 1.3))
            parts.append(text[begin:cut])
            begin = cut
        end = stop
    return [part for part in [*parts, text[begin:end]] if part.strip()]
