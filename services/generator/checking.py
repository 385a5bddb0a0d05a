"""Lets through what an LLM writes, claim by claim, once a passage supports it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing

from ragline.v1.passage_pb2 import Passage
from services.generator.citations import Citation, Citer, shown, unmarked
from services.generator.claims import Claims
from services.generator.clock import Clock
from services.generator.events import Cited, Finding, Question, Token
from services.generator.evidence import Sentence
from services.generator.llms import LLM, Finish, Usage
from services.generator.prompt import NO_ANSWER, Prompt, Style

# A sentence as it may be said, empty where it may not, and what was found in it.
Guard = Callable[[str], tuple[str, tuple[Finding, ...]]]


class Checker:
    """One answer in the making: what was said, with which citations, and what was dropped.

    A claim is held back until it is complete and checked, so nothing is ever shown and then withdrawn.
    """

    def __init__(
        self, passages: Sequence[Passage], found: Sequence[Sentence], clock: Clock, guard: Guard | None = None
    ) -> None:
        self.passages = passages
        self.clock = clock
        self.guard = guard
        with clock.stage("cite"):
            self.citer = Citer(passages, found)
        self.answer = ""
        self.said = False
        self.declined = False
        self.dropped: list[str] = []
        self.degraded: tuple[str, ...] = ()
        self.findings: list[Finding] = []
        self.usage = Usage()
        self.finish: Finish = "stop"
        self.model = ""

    @property
    def citations(self) -> list[Citation]:
        """The citations so far, by marker."""
        return self.citer.citations

    async def check(self, llm: LLM, ask: Prompt, question: Question) -> AsyncGenerator[Token | Cited, None]:
        """What the LLM says and the passages support: each claim, its marker, and a new citation."""
        claims = Claims()
        self.model = llm.name
        self.finish = "stop"
        pieces = llm.generate(ask, max_tokens=question.max_tokens, temperature=question.temperature)
        began = time.perf_counter()
        async with aclosing(pieces):
            async for piece in pieces:
                self.clock.add("generate", time.perf_counter() - began)
                if piece.usage:
                    self.usage += piece.usage
                self.finish = piece.finish or self.finish
                for event in self.passed(claims.feed(piece.text), llm.style):
                    yield event
                began = time.perf_counter()
        self.clock.add("generate", time.perf_counter() - began)
        for event in self.passed(claims.finish(), llm.style):
            yield event

    def passed(self, claims: Iterator[str], style: Style) -> list[Token | Cited]:
        """The events of the claims that a passage supports; the others are noted as dropped."""
        with self.clock.stage("cite"):
            return [event for claim in claims for event in self.claim(claim, style)]

    def claim(self, raw: str, style: Style) -> list[Token | Cited]:
        """One claim: its text and marker, or nothing. Where the LLM only picks, the source speaks itself."""
        claim = unmarked(raw)
        if NO_ANSWER in claim:
            self.declined = True
        support = self.citer.support(claim)
        cited = support and self.citer.cite(support)
        if not support or not cited:
            if claim:
                self.dropped.append(claim)
            return []
        citation, new = cited
        if not new and style == "extract":
            return []
        passage = self.passages[support.passage]
        text = shown(passage.text[support.start : support.end]) if style == "extract" else claim
        if self.guard:
            text, findings = self.guard(text)
            self.findings.extend(findings)
            if not text:
                return []
        token = Token(self.say(f"{text} {citation.marker}"))
        return [token, Cited(citation)] if new else [token]

    def say(self, text: str) -> str:
        """Add to the answer; returns what the stream says."""
        piece = f" {text}" if self.said else text
        self.answer += piece
        self.said = True
        return piece
