"""Writes what an LLM is asked for an answer: chooses the prompt and packs it into what the LLM has room for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import orjson
import structlog

from ragline.errors import RaglineError
from ragline.v1.passage_pb2 import Passage
from services.generator.checks.evidence import Sentence
from services.generator.events import Question
from services.generator.llms import LLM
from services.generator.prompt import NO_ANSWER, Prompt, Said, tokens
from services.generator.prompts import Prompts, Template
from services.generator.prompts.packing import Size, packed, spoken, texts
from services.generator.prompts.values import Line

# A small model loses the thread in a longer list of sentences to choose from.
EXTRACT_TOKENS = 400
EXTRACT_SENTENCES = 12
# Of the budget for passages, as much again may be turns of the conversation.
TURNS_SHARE = 0.25
# A chat template's own tokens, for a message.
MESSAGE_TOKENS = 8

Sizes = Mapping[str, int]


@runtime_checkable
class Counting(Protocol):
    """An LLM that can say how many tokens it makes of texts."""

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text; raises Unavailable where it cannot say."""
        ...


@dataclass(frozen=True)
class Writing:
    """``budget`` is the most tokens of passages; an LLM with less room gets fewer."""

    prompts: Prompts
    budget: int

    def chosen(self, question: Question, llm: LLM) -> Template:
        """The prompt that the question asks for, or its collection; raises InvalidRequest where there is none."""
        return self.prompts.choose(question.prompt, "answer", llm.style, question.collection)

    def variant(self, question: Question, llm: LLM) -> str:
        """What of an answer depends on the prompt: its very text, and the turns where it shows them."""
        template = self.prompts.suited(question.prompt, "answer", llm.style, question.collection)
        said = orjson.dumps(turns(question)) if template.turns else b""
        return f"{template.ref} {self.budget} {hashlib.sha256(said).hexdigest()}"

    async def sizes(self, llm: LLM, given: Sequence[Passage]) -> Sizes:
        """The tokens of what may be shown, by the LLM's own count, where it has one and passages are shown."""
        if llm.style == "extract" or not isinstance(llm, Counting):
            return {}
        every = list(dict.fromkeys(texts(given)))
        try:
            return dict(zip(every, await llm.count_tokens(every), strict=True))
        except RaglineError:
            return {}

    def ask(
        self, question: Question, llm: LLM, given: Sequence[Passage], found: Sequence[Sentence], sizes: Sizes
    ) -> Prompt:
        """What the LLM is asked, with its own prompt where the one that was wished for is of another style."""
        template = self.prompts.suited(question.prompt, "answer", llm.style, question.collection)
        structlog.contextvars.bind_contextvars(prompt=template.id)  # what is logged from here on names it
        if llm.style == "extract":
            return extract(template, question.query, found, self.room(llm, question))
        return self.passages(template, question, llm, given, found, lambda text: sizes.get(text) or tokens(text))

    def passages(
        self,
        template: Template,
        question: Question,
        llm: LLM,
        given: Sequence[Passage],
        found: Sequence[Sentence],
        size: Size,
    ) -> Prompt:
        """The passages that there is room for beside the question and the turns."""
        room = llm.context_tokens - question.max_tokens
        wanted = min(self.budget, room)
        said = spoken(turns(question), int(wanted * TURNS_SHARE), size) if template.turns else ()
        values = {"question": question.query, "instructions": question.instructions, "no_answer": NO_ANSWER}
        bare = template.prompt(said, passages=[], **values)
        spent = sum(size(message["content"]) + MESSAGE_TOKENS for message in bare.messages)
        shown = packed(given, found, min(self.budget, room - spent), size, template.order)
        made = template.prompt(said, passages=shown, **values)
        return replace(made, sentences=tuple(found))

    def room(self, llm: LLM, question: Question) -> int:
        """Tokens for what is found, before the rest is counted."""
        return min(self.budget, llm.context_tokens - question.max_tokens)


def extract(template: Template, query: str, found: Sequence[Sentence], budget: int) -> Prompt:
    """Asks for the one sentence that answers; the best sentences that fit, the best one first."""
    chosen: list[Sentence] = []
    spent = tokens(query) + 40
    for sentence in found[:EXTRACT_SENTENCES]:
        spent += tokens(sentence.text) + 4
        if chosen and spent > min(budget, EXTRACT_TOKENS):
            break
        chosen.append(sentence)
    lines = [Line(number, " ".join(each.text.split())) for number, each in enumerate(chosen, 1)]
    return replace(template.prompt(question=query, sentences=lines), sentences=tuple(chosen))


def summary(prompts: Prompts, text: str, found: Sequence[Sentence], focus: str = "") -> Prompt:
    """Asks for a summary of ``text``, or of what it says of ``focus``; ``found`` are its sentences, best first."""
    return replace(prompts.choose("", "summary").prompt(text=text, focus=focus), sentences=tuple(found))


def turns(question: Question) -> list[Said]:
    """What was said before."""
    return [(turn.question, turn.answer) for turn in question.turns]
