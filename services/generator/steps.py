"""The steps around an answer that a deployment may have or do without; ``__main__`` wires those there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.generator.checks.checking import Guard
from services.generator.events import Done, Finding, Question, Ranked
from services.generator.prompts.writing import Writing


class Guards(Protocol):
    """Looks at what goes in and what comes out. ``variant`` is all that they are told, which answers depend on."""

    variant: str

    async def question(self, question: Question) -> tuple[Question, tuple[Finding, ...]]:
        """The question as it may be asked; raises Refused where it may not."""
        ...

    async def passages(self, ranked: Sequence[Ranked]) -> tuple[tuple[Ranked, ...], tuple[Finding, ...]]:
        """The passages that an answer may be made from, as they may be shown to an LLM."""
        ...

    async def again(self, ranked: Sequence[Ranked]) -> tuple[Ranked, ...]:
        """The passages of a kept answer as they were shown when it was made; nothing is counted twice."""
        ...

    def answer(self) -> Guard:
        """A guard for the sentences of one answer, which is shown them in order."""
        ...


class Conversation(Protocol):
    """Knows what was said before."""

    async def begin(self, question: Question) -> tuple[Question, tuple[str, ...]]:
        """The question with the turns before it and a query that stands alone; and what was away."""
        ...

    async def end(self, question: Question, done: Done, ranked: Sequence[Ranked]) -> tuple[str, ...]:
        """Remember the question, as it was asked, its answer and what it cites; returns what was away."""
        ...


class Expansion(Protocol):
    """Words a question in other ways."""

    async def wordings(self, question: Question) -> list[str]:
        """At most ``question.expand`` other wordings; none where nothing can write them."""
        ...


class Records(Protocol):
    """Keeps how answers came about, for feedback."""

    async def keep(self, question: Question, done: Done, ranked: Sequence[Ranked]) -> None:
        """Keep an answer under its id; never raises for a store that is away."""
        ...


@dataclass(frozen=True)
class Steps:
    """Those that there are."""

    guards: Guards | None = None
    conversation: Conversation | None = None
    expansion: Expansion | None = None
    records: Records | None = None
    writing: Writing | None = None


BARE = Steps()
