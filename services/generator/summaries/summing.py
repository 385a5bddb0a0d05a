"""Writes the summary of one part, sentence by sentence, and finds out which of the part's each is from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from ragline.v1.passage_pb2 import Passage
from services.generator import prompt
from services.generator.checks.citations import Citer, Needs, number, unmarked
from services.generator.checks.claims import Claims
from services.generator.checks.evidence import Overlap, Sentence, words
from services.generator.events import Anew
from services.generator.llms import LLM, Finish
from services.generator.prompts import Prompts
from services.generator.prompts.writing import summary
from services.generator.roster import LAST, Roster
from services.generator.spending import Spending
from services.generator.summaries import centrality
from services.generator.summaries.outline import Part, Piece

# This share of a claim's words must stand in the text; a claim with so many words for each different one stutters.
LEAST_KNOWN = 0.6
STUTTER = 3
# Of the sentences without a word of what is asked for, this much of their weight is left.
BESIDE = 0.25
# A sentence that sums up many is shown with the first of them.
MOST_ORIGINS = 4


class Writing:
    """One request's texts; counts what they took. ``llm`` is the one that was asked for, ``query`` the focus."""

    def __init__(self, llms: Roster, prompts: Prompts, llm: str, query: str) -> None:
        self.llms = llms
        self.prompts = prompts
        self.llm = llm
        self.query = query
        self.spending = Spending()
        self.model = llms.chosen(llm).name
        self.degraded: tuple[str, ...] = ()
        self.finish: Finish = "stop"

    async def summary(self, part: Part, max_tokens: int) -> AsyncGenerator[Piece | Anew, None]:
        """The sentences of a part's summary, less those that do not come from the part; see ``faithful``."""
        sentences = [Sentence(0, start, end, part.text[start:end]) for start, end in part.spans]
        ranked = await asyncio.to_thread(self.ranked, sentences)
        ask = summary(self.prompts, part.text, ranked, self.query)
        known = {number(word) for word in words(part.text)}
        passage = Passage(text=part.text)
        citer = Citer([passage], sentences)

        async def attempt(llm: LLM) -> AsyncGenerator[Piece, None]:
            self.model, self.finish = llm.name, "stop"
            picks = llm.name == LAST
            async with aclosing(self.claims(llm, ask, max_tokens)) as claims:
                async for claim in claims:
                    if picks or faithful(claim, known):
                        found = citer.support(claim)
                        yield Piece(claim, part.origins(found.start, found.end)[:MOST_ORIGINS] if found else ())

        chain = self.llms.chain(self.llm)
        with self.spending.stage("summary"):
            async with aclosing(chain.write(attempt)) as claims:
                async for claim in claims:
                    yield claim
        self.degraded = tuple(dict.fromkeys([*self.degraded, *chain.degraded]))

    def ranked(self, sentences: Sequence[Sentence]) -> list[Sentence]:
        """The sentences, the most central first, and of these what is asked for."""
        found = centrality.ranked(sentences)
        if not self.query:
            return found
        overlap = Overlap(self.query, [each.text for each in found])
        weighed = [replace(each, score=each.score * (BESIDE + overlap.share(each.text))) for each in found]
        return sorted(weighed, key=lambda each: -each.score)

    async def claims(self, llm: LLM, ask: prompt.Prompt, max_tokens: int) -> AsyncGenerator[str, None]:
        """The sentences that an LLM writes, each once."""
        claims = Claims()
        seen: set[str] = set()
        async with aclosing(llm.generate(ask, max_tokens=max_tokens, temperature=0.0)) as pieces:
            async for piece in pieces:
                self.finish = piece.finish or self.finish
                for claim in fresh(claims.feed(piece.text), seen):
                    yield claim
        for claim in fresh(claims.finish(cut=self.finish == "length"), seen):
            yield claim


def focused(parts: Sequence[Part], query: str) -> list[Part]:
    """The parts that have a word of ``query``, where any has; all of them without one."""
    if not query or len(parts) < 2:
        return list(parts)
    overlap = Overlap(query, [part.text for part in parts])
    return [part for part in parts if overlap.share(part.heading, part.text) > 0] or list(parts)


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
