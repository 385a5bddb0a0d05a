"""Summarises texts of any length: their sections part by part, then the parts' summaries, until one is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from ragline.context import Caller, new_id
from ragline.errors import Internal, InvalidRequest, TooLarge, Unavailable
from services.generator.clock import Clock
from services.generator.events import Anew, Finding
from services.generator.guarding import Chain, added
from services.generator.prompts import Prompts, shipped
from services.generator.room import Room
from services.generator.roster import Roster
from services.generator.shared import SharedStreams
from services.generator.sources import Sources
from services.generator.summaries import guarded
from services.generator.summaries.kept import Event, Progress, Summaries, Summary, Titled, key_of
from services.generator.summaries.made import Made
from services.generator.summaries.outline import Block, Part, Piece, parts
from services.generator.summaries.source import Source, cut_up
from services.generator.summaries.summing import Writing, focused

# A part is at most this long: small models lose the thread sooner than their context ends.
PART_TOKENS = 1200
OVERHEAD_TOKENS = 120
# Each round must leave at most this share of the last one's text.
SHRINK = 0.7


@dataclass(frozen=True)
class Texts:
    """What to summarise: a text, or documents of a collection by id; ``query`` says what to look at in them."""

    tenant: str
    collection: str
    text: str | None
    document_ids: Sequence[str] = ()
    query: str = ""
    llm: str = ""


@dataclass(frozen=True)
class Limits:
    """The longest text, in characters, and the parts of one that are summarised at once."""

    max_chars: int
    parallel: int


class Summarizer:
    """Of ``llms`` the one that needs no model picks the most central sentences where the others are away."""

    def __init__(
        self,
        sources: Sources,
        llms: Roster,
        room: Room,
        limits: Limits,
        prompts: Prompts | None = None,
        kept: Summaries | None = None,
        guards: Chain | None = None,
    ) -> None:
        self.sources, self.llms = sources, llms
        self.room = room
        self.limits = limits
        self.prompts = prompts or shipped()
        self.kept = kept or Summaries(None, 1.0)
        self.guards = guards
        self.shared: SharedStreams[Event | Anew] = SharedStreams(lambda event: isinstance(event, Anew))

    async def summarize(self, texts: Texts, max_tokens: int) -> Summary:
        """The whole summary at once."""
        async with aclosing(self.events(texts, max_tokens)) as events:
            async for event in events:
                if isinstance(event, Summary):
                    return event
        raise Internal

    async def stream(self, texts: Texts, max_tokens: int) -> AsyncGenerator[Event, None]:
        """The summary as it is written: how far it is, then its sentences; ``Summary`` is the last event.

        Raises TooLarge, NotFound, Refused, or Unavailable where the LLM breaks off after something was said.
        """
        async with aclosing(self.events(texts, max_tokens)) as events:
            async for event in events:
                if isinstance(event, Anew):
                    raise Unavailable(f"The summary broke off: {event.reason} Forget its beginning and ask again.")
                yield event

    async def events(self, texts: Texts, max_tokens: int) -> AsyncGenerator[Event | Anew, None]:
        """The summary as it is written; what came before ``Anew`` is void.

        Equal requests for texts that say the same share one summary, and later ones get the kept one.
        """
        clock = Clock()
        model = self.llms.chosen(texts.llm).name
        with self.room.enter():
            texts, asked = self.asked(texts)
            with clock.stage("fetch"):
                found = await self.found(texts)
            given = [(each.id, each.title, each.text) for each in found]
            prompt = self.prompts.choose("", "summary").id
            guards = self.guards.variant if self.guards else ""
            key = key_of(texts.tenant, given, texts.query, max_tokens, model, prompt, guards)
            events = await self.kept.replay(key) or self.shared.join(
                key,
                lambda: self.kept.keep(key, self.written(found, texts, max_tokens)),
                Caller(texts.tenant, new_id()),
            )
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Summary):
                        findings = (*asked, *event.findings)
                        yield replace(event, timings_ms=clock.total(event.timings_ms), findings=findings)
                    else:
                        yield event

    def asked(self, texts: Texts) -> tuple[Texts, tuple[Finding, ...]]:
        """What is asked for, with the focus as the guards let it be asked; raises Refused."""
        if not self.guards:
            return texts, ()
        query, findings = self.guards.asked(texts.query, "query")
        return replace(texts, query=query), findings

    async def found(self, texts: Texts) -> list[Source]:
        """What is to be summarised; a text of the request has no id."""
        if texts.text is not None:
            found = [Source("", "", texts.text, texts.text)]
        else:
            ids = dict.fromkeys(texts.document_ids)
            documents = [await self.sources.document(texts.tenant, texts.collection, each) for each in ids]
            found = [Source(each.id, each.title, each.source, each.source) for each in documents]
        length = sum(len(each.text) for each in found)
        if length > self.limits.max_chars:
            raise TooLarge(
                f"The text has {length} characters, over the {self.limits.max_chars} of "
                "GENERATOR_MAX_SUMMARY_CHARS; summarise its parts."
            )
        return found

    async def written(
        self, found: Sequence[Source], texts: Texts, max_tokens: int
    ) -> AsyncGenerator[Event | Anew, None]:
        """The events of a new summary."""
        clock = Clock()
        work = Writing(self.llms, self.prompts, texts.llm, texts.query)
        findings: tuple[Finding, ...] = ()
        if self.guards:
            with clock.stage("guard"):
                found, findings = await guarded.shown(self.guards, found)
        titled = tuple(Titled(each.id, each.title, len(each.quoted)) for each in found)
        budget = self.part_tokens(max_tokens, work)
        cut = await asyncio.to_thread(cut_up, found, budget)
        if not cut and not findings:
            raise InvalidRequest("There is no text to summarise; send some.", field="text")
        left = focused(cut, texts.query)
        done, planned = 0, len(left)
        yield Progress(titled, done, planned)
        with clock.stage("generate"):
            while len(left) > 1:
                reduced: list[Block | None] = [None] * len(left)
                async with aclosing(self.reduced(left, max_tokens, budget, work)) as finished:
                    async for at, block in finished:
                        reduced[at] = block
                        done += 1
                        yield Progress(titled, done, max(planned, done))
                left = fewer([block for block in reduced if block], left, budget)
                planned = done + len(left)
            made = Made({each.id: each.quoted for each in found}, self.guards.answer if self.guards else None)
            async with aclosing(made.told(work.summary(left[0], max_tokens) if left else None)) as events:
                async for event in events:
                    yield event
        yield summary_of(made, work, titled, findings, clock)

    def part_tokens(self, max_tokens: int, work: Writing) -> int:
        """How long a part may be so that it and its summary fit the LLM's context."""
        room = self.llms.chosen(work.llm).context_tokens - max_tokens - OVERHEAD_TOKENS
        return max(64, min(PART_TOKENS, room))

    async def reduced(
        self, left: Sequence[Part], max_tokens: int, budget: int, work: Writing
    ) -> AsyncGenerator[tuple[int, Block], None]:
        """Each part's place and its summary, as they come; a few are in the making at once."""
        limit = min(max_tokens, budget // 4)
        slots = asyncio.Semaphore(self.limits.parallel)

        async def one(at: int, part: Part) -> tuple[int, Block]:
            async with slots:
                pieces: list[Piece] = []
                async with aclosing(work.summary(part, limit)) as claims:
                    async for claim in claims:
                        pieces = [] if isinstance(claim, Anew) else [*pieces, claim]
                return at, Block(part.heading, tuple(pieces))

        tasks = [asyncio.create_task(one(at, part)) for at, part in enumerate(left)]
        try:
            for ended in asyncio.as_completed(tasks):
                yield await ended
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def fewer(reduced: Sequence[Block], before: Sequence[Part], budget: int) -> list[Part]:
    """The summaries of ``before`` in fewer parts than those, so that rounds come to an end.

    They mostly are fewer. Headings may take so much of the room that they are not: then the summaries give way,
    at the worst to one character each, of which two always fit under their headings.
    """
    share = SHRINK
    while len(made := parts(shorter(reduced, before, share), budget)) >= len(before):
        share /= 2
    return made


def shorter(reduced: Sequence[Block], before: Sequence[Part], share: float) -> list[Block]:
    """The summaries, no longer than a share of what they sum up; what is over comes from the end of each."""
    length = sum(len(part.text) for part in before)
    most = int(share * length)
    total = sum(len(piece.text) for block in reduced for piece in block.pieces)
    if total <= most:
        return [block for block in reduced if block.pieces]
    share = most / total
    kept = []
    for block in reduced:
        left = share * sum(len(piece.text) for piece in block.pieces)
        pieces: list[Piece] = []
        for piece in block.pieces:
            if left < len(piece.text):
                pieces += [] if pieces else [Piece(piece.text[: max(1, int(left))], piece.origins)]
                break
            left -= len(piece.text)
            pieces.append(piece)
        kept.append(Block(block.heading, tuple(pieces)))
    return [block for block in kept if block.pieces]


def summary_of(
    made: Made, work: Writing, titled: Sequence[Titled], findings: Sequence[Finding], clock: Clock
) -> Summary:
    """The whole of a summary that is made; ``findings`` are those of its texts."""
    return Summary(
        summary=made.said,
        usage=work.spending.usage,
        timings_ms=clock.total({}),
        model=work.model,
        degraded=work.degraded,
        citations=tuple(made.citations),
        documents=tuple(titled),
        finish=work.finish,
        abstained=made.abstained,
        findings=added((*findings, *made.findings)),
    )
