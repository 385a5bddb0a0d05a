"""Makes a follow-up stand alone: an LLM rewrites it, code checks that, and rules do where it is no good."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Literal

import structlog

from ragline.errors import RaglineError
from services.generator.checks.evidence import PLAIN, words
from services.generator.conversations.followups import alone, bare, names, points_back, telling
from services.generator.events import Question, Turn
from services.generator.llms import LLM
from services.generator.prompts import Prompts

How = Literal["auto", "llm", "rules", "off"]
NAME = "conversation.standalone"
MAX_TOKENS = 96
SHOWN_CHARS = 1000  # of a turn's answer, which the LLM is shown
SHOWN_TURNS = 5
GROWTH = 40  # words that a rewriting may have more than the question
KEPT = 0.5  # share of the question's telling words that must still be there
_LABEL = re.compile(r"^\s*(?:[\w ]{0,24}question\s*:)?[\s\"'`*]*|[\s\"'`*]+$", re.IGNORECASE)

log = structlog.get_logger(__name__)


class Standalone:
    """Rewrites questions. ``writer`` gives the LLM that a question is to be answered by.

    ``how`` "auto" asks the LLM where it can follow instructions (style "passages"), "llm" always, "rules" never;
    "off" leaves questions as they are. What the LLM writes is taken only where every word of it was said in the
    conversation; it has ``timeout_s``.
    """

    def __init__(self, writer: Callable[[Question], LLM], prompts: Prompts, how: How, timeout_s: float) -> None:
        self.writer = writer
        self.prompts = prompts
        self.how = how
        self.timeout_s = timeout_s

    async def rewrite(self, question: Question, turns: Sequence[Turn]) -> str:
        """The query so that it stands alone; as it is where nothing was said before."""
        if not turns or self.how == "off":
            return question.query
        if self.how != "rules":
            llm = self.writer(question)
            if self.how == "llm" or llm.style == "passages":
                said = await self.written(llm, question.query, turns[-SHOWN_TURNS:])
                if said and trusted(said, question.query, turns):
                    return said
        return alone(question.query, turns)

    async def written(self, llm: LLM, query: str, turns: Sequence[Turn]) -> str:
        """What the LLM makes of it, on one line; empty where it is away or takes too long."""
        shown = [Turn(turn.question, turn.answer[:SHOWN_CHARS]) for turn in turns]
        text = ""
        try:
            prompt = self.prompts.choose(NAME, "standalone").prompt(question=query, turns=shown)
            async with asyncio.timeout(self.timeout_s):
                async with aclosing(llm.generate(prompt, max_tokens=MAX_TOKENS, temperature=0.0)) as pieces:
                    async for piece in pieces:
                        text += piece.text
                        if "\n" in text.strip():
                            break
        except (RaglineError, TimeoutError) as error:
            log.warning("rewriting by rules", llm=llm.name, reason=str(error) or "it took too long")
            return ""
        return _LABEL.sub("", text.strip().partition("\n")[0])


def trusted(said: str, question: str, turns: Sequence[Turn]) -> bool:
    """Whether a rewriting asks the same: it says nothing that was not said, and loses nothing that was asked."""
    own, new = set(words(question)), set(words(said))
    spoken = {word for turn in turns for word in (*words(turn.question), *words(turn.answer))}
    if not new or not new <= own | spoken | PLAIN or len(words(said)) > len(words(question)) + GROWTH:
        return False
    if new == own and (bare(question) or points_back(question)):  # repeated, as if it stood alone
        return False
    if question.rstrip().endswith("?") and not said.endswith("?"):
        return False
    asked = set(words(" ".join(telling(question))))
    exact = {word for word in asked if any(letter.isdigit() for letter in word)}
    exact |= {word for name in names(question) for word in words(name)}
    return exact <= new and len(asked & new) >= KEPT * len(asked)
