"""Lets through what an LLM writes, claim by claim, once a passage supports it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol

from ragline.v1.passage_pb2 import Passage
from services.generator.checks.attribution import Attribution, Verdict
from services.generator.checks.citations import Citation, Citer
from services.generator.checks.claims import Claims
from services.generator.checks.evidence import Sentence
from services.generator.checks.judging import Judge
from services.generator.checks.markers import shown, unmarked
from services.generator.clock import Clock
from services.generator.events import Cited, Finding, Policy, Question, Token, Unsupported
from services.generator.llms import LLM, Finish
from services.generator.prompt import NO_ANSWER, Prompt, Style


class Guard(Protocol):
    """Is shown the sentences of one answer. ``whole``: none of them may be sent before it has seen all."""

    whole: bool
    refused: bool

    def __call__(self, text: str) -> tuple[str, tuple[Finding, ...]]:
        """A sentence as it may be said, empty where it may not, and what was found in it."""
        ...


Fate = Literal["said", "flagged", "dropped", "repeated", "guarded"]


@dataclass(frozen=True)
class Checked:
    """A claim, as a guard lets it be told, with its verdict and what became of it."""

    text: str
    verdict: Verdict
    fate: Fate
    marker: str = ""


class Checker:
    """One answer in the making: what was said, with which citations, and what was dropped or flagged.

    A claim is held back until it is complete and checked, so nothing is ever shown and then withdrawn. A ``judge``
    decides where words alone do not.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        found: Sequence[Sentence],
        clock: Clock,
        guard: Guard | None = None,
        judge: Judge | None = None,
        unsupported: Policy = "drop",
    ) -> None:
        self.passages = passages
        self.clock = clock
        self.guard = guard
        self.judge = judge
        self.policy = unsupported
        with clock.stage("cite"):
            self.citer = Citer(passages, found)
        self.attribution = Attribution(self.citer, judge)
        self.answer = ""
        self.said = False
        self.declined = False
        self.claims: list[Checked] = []
        self.unsupported: list[Unsupported] = []
        self.pointers: dict[str, tuple[str, ...]] = {}
        self.findings: list[Finding] = []
        self.finish: Finish = "stop"
        self.model = ""

    @property
    def citations(self) -> list[Citation]:
        """The citations so far, by marker."""
        return self.citer.citations

    @property
    def degraded(self) -> tuple[str, ...]:
        """What was to check and was away."""
        return ("rerank",) if self.judge and self.judge.away else ()

    @property
    def dropped(self) -> list[str]:
        """What no passage supports and was left out."""
        return [each.text for each in self.claims if each.fate == "dropped" and each.text]

    async def check(self, llm: LLM, ask: Prompt, question: Question) -> AsyncGenerator[Token | Cited, None]:
        """What the LLM says and the passages support: each claim, its marker, and a new citation.

        Where the LLM was cut short, the sentence that it did not finish is left out.
        """
        claims = Claims()
        self.model = llm.name
        self.finish = "stop"
        pieces = llm.generate(ask, max_tokens=question.max_tokens, temperature=question.temperature)
        began = time.perf_counter()
        async with aclosing(pieces):
            async for piece in pieces:
                self.clock.add("generate", time.perf_counter() - began)
                self.finish = piece.finish or self.finish
                for event in await self.passed(claims.feed(piece.text), llm.style):
                    yield event
                began = time.perf_counter()
        self.clock.add("generate", time.perf_counter() - began)
        for event in await self.passed(claims.finish(cut=self.finish == "length"), llm.style):
            yield event

    async def withheld(self, events: AsyncGenerator[Token | Cited, None]) -> AsyncGenerator[Token | Cited, None]:
        """The events once there are no more; none where the guard refuses what they say: then nothing was said."""
        async with aclosing(events):
            held = [event async for event in events]
        if self.guard and self.guard.refused:
            self.answer, self.said, self.declined = "", False, True
            self.citations.clear()
            self.unsupported.clear()
            return
        for event in held:
            yield event

    async def passed(self, claims: Iterable[str], style: Style) -> list[Token | Cited]:
        """The events of the claims that a passage supports, and of the others where these are to be flagged."""
        texts = [unmarked(claim) for claim in claims]
        if not texts:
            return []
        with self.clock.stage("cite"):
            verdicts = await self.attribution.check(texts)
            return [event for verdict in verdicts for event in self.claim(verdict, style)]

    def claim(self, verdict: Verdict, style: Style) -> list[Token | Cited]:
        """One claim: its text and marker, or nothing. Where the LLM only picks, the source speaks itself."""
        if NO_ANSWER in verdict.claim:
            self.declined = True
        support = verdict.support
        cited = support and self.citer.cite(support)
        if not support or not cited:
            return self.doubted(verdict)
        citation, new = cited
        if not new and style == "extract":
            self.claims.append(Checked(verdict.claim, verdict, "repeated", citation.marker))
            return []
        passage = self.passages[support.passage]
        text = shown(passage.text[support.start : support.end]) if style == "extract" else verdict.claim
        text = self.guarded(text, verdict)
        if not text:
            if new:
                self.citations.remove(citation)
            return []
        self.claims.append(Checked(text, verdict, "said", citation.marker))
        token = Token(self.say(f"{text} {citation.marker}"))
        return [token, Cited(citation)] if new else [token]

    def doubted(self, verdict: Verdict) -> list[Token | Cited]:
        """A claim that nothing supports: left out, or said and noted with the reason."""
        if self.policy == "drop" or NO_ANSWER in verdict.claim or not verdict.claim:
            # What no guard has looked at is told to nobody, and to a guard what is not said is nothing.
            self.claims.append(Checked("" if self.guard else verdict.claim, verdict, "dropped"))
            return []
        told, findings = self.guard(verdict.claim) if self.guard else (verdict.claim, ())
        self.findings.extend(findings)
        if not told:
            self.claims.append(Checked("", verdict, "guarded"))
            return []
        # A reason names words of the claim, among them perhaps the very ones that a guard took out.
        reason = "no passage says this" if findings or not verdict.reason else verdict.reason
        self.claims.append(Checked(told, verdict, "flagged"))
        token = Token(self.say(told))
        self.unsupported.append(Unsupported(len(self.answer) - len(told), len(self.answer), reason))
        return [token]

    def guarded(self, text: str, verdict: Verdict) -> str:
        """The text as the guards let it be said; empty, and noted, where they do not."""
        if not self.guard:
            return text
        told, findings = self.guard(text)
        self.findings.extend(findings)
        if not told:
            self.claims.append(Checked("", verdict, "guarded"))
        return told

    def say(self, text: str) -> str:
        """Add to the answer; returns what the stream says."""
        piece = f" {text}" if self.said else text
        self.answer += piece
        self.said = True
        return piece
