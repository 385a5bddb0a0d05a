"""Words a question in other ways for the search: by an LLM that can write, else by rules."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Literal

import structlog

from ragline.errors import RaglineError
from services.generator.checks.evidence import PLAIN, WORD, fold, words
from services.generator.conversations.followups import names, telling
from services.generator.events import Question
from services.generator.llms import LLM
from services.generator.prompts import Prompts

How = Literal["auto", "llm", "rules"]
NAME = "query.expand"
TOKENS = 48  # of a wording, at most
MOST_WORDS = 60
_NUMBERING = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.):])?\s*[\"'`]*|[\"'`\s]+$")
# "when was the tower built" -> "the tower was built": the verb goes behind what it is about, as in a statement.
_WHEN = re.compile(
    r"(?P<ask>when|where|how|why|in (?:what|which) \w+)\s+"
    r"(?P<verb>is|are|was|were|did|does|do|can|has|have|had|will)\s+(?P<rest>.+?)\??$",
    re.IGNORECASE,
)
_WHO = re.compile(r"(?:who|what|which(?: \w+)?)\s+(?P<rest>.+?)\??$", re.IGNORECASE)
_ASKED = {"when": "in the year", "where": "in", "why": "because", "how": "by"}

log = structlog.get_logger(__name__)


class Expansions:
    """Other wordings of questions. ``writer`` gives the LLM that a question is to be answered by.

    ``how`` "auto" asks it where it can follow instructions (style "passages"), "llm" always, "rules" never. It has
    ``timeout_s``; where it is away, or writes less than was wanted, rules make up for it.
    """

    def __init__(self, writer: Callable[[Question], LLM], prompts: Prompts, how: How, timeout_s: float) -> None:
        self.writer = writer
        self.prompts = prompts
        self.how = how
        self.timeout_s = timeout_s

    async def wordings(self, question: Question) -> list[str]:
        """At most ``question.expand`` other wordings, the best first."""
        if not question.expand:
            return []
        found: list[str] = []
        if self.how != "rules":
            llm = self.writer(question)
            if self.how == "llm" or llm.style == "passages":
                found = await self.written(llm, question)
        return distinct(question.query, [*found, *by_rules(question.query)])[: question.expand]

    async def written(self, llm: LLM, question: Question) -> list[str]:
        """What the LLM makes of it, a wording a line; those that lost a name or a number are left out."""
        text = ""
        try:
            prompt = self.prompts.choose(NAME, "expand").prompt(question=question.query, count=question.expand)
            most = TOKENS * question.expand
            async with asyncio.timeout(self.timeout_s):
                async with aclosing(llm.generate(prompt, max_tokens=most, temperature=0.0)) as pieces:
                    async for piece in pieces:
                        text += piece.text
        except (RaglineError, TimeoutError) as error:
            log.warning("wording by rules", llm=llm.name, reason=str(error) or "it took too long")
        lines = (_NUMBERING.sub("", line) for line in text.splitlines())
        return [line for line in lines if line and asks_the_same(line, question.query)]


def asks_the_same(wording: str, query: str) -> bool:
    """Whether every name and number of the query is there still, and the wording is a sentence's length."""
    new = set(words(wording))
    exact = {word for word in words(query) if any(letter.isdigit() for letter in word)}
    exact |= {word for name in names(query) for word in words(name)}
    return exact <= new and 1 < len(words(wording)) <= MOST_WORDS


def distinct(query: str, found: list[str]) -> list[str]:
    """Those that are not the query, each once, however they are written."""
    kept: dict[tuple[str, ...], str] = {}
    for each in found:
        kept.setdefault(tuple(words(each)), each)
    kept.pop(tuple(words(query)), None)
    kept.pop((), None)
    return list(kept.values())


def by_rules(query: str) -> Iterator[str]:
    """The question as a statement, then only the words that say what it is about."""
    yield statement(query)
    yield " ".join(telling(query))


def statement(query: str) -> str:
    """A question as the beginning of a sentence that answers it; the query itself where it is no question."""
    if asked := _WHEN.match(query):
        rest, verb = asked["rest"], asked["verb"].casefold()
        tail = _ASKED.get(asked["ask"].casefold(), "")
        if verb in ("did", "does", "do"):
            return f"{rest} {tail}".strip()
        # Behind the thing it is about, which ends with its last name, or before the last word.
        at = [match.start() for match in WORD.finditer(rest)]
        cut = at[-1] if len(at) > 1 and fold(rest[at[-1] :]) not in PLAIN else len(rest)
        return f"{rest[:cut].strip()} {verb} {rest[cut:].strip()} {tail}".strip()
    if asked := _WHO.match(query):
        return asked["rest"]
    return query
