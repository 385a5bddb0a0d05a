"""Answers with the sentences that match best, word for word: the default, with no weights and nothing invented."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from pydantic import Field

from services.generator.checks.evidence import Sentence, words
from services.generator.llms import Parts, Piece, Usage
from services.generator.prompt import Prompt, Style, tokens

# A sentence repeats what was said where this share of its words was.
REPEATED = 0.8
# Sentences with no more than this between them, white space and closing marks, are neighbours.
BETWEEN = 4

Margin = Annotated[float, Field(ge=0)]


def load(parts: Parts, *, sentences: Annotated[int, Field(ge=1, le=10)] = 2, margin: Margin = 0.1) -> Extractive:
    """At most ``sentences`` in an answer: the best one, and others within ``margin`` of its score."""
    return Extractive(sentences, margin)


class Extractive:
    """Picks from ``prompt.sentences``; for a summary, as many as ``max_tokens`` holds, in the text's order."""

    name = "extractive"
    style: Style = "extract"
    context_tokens = 1_000_000_000

    def __init__(self, count: int = 2, margin: float = 0.1) -> None:
        self.count = count
        self.margin = margin

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """One piece a sentence; no tokens are used."""
        chosen = self.central(prompt, max_tokens) if prompt.task == "summary" else self.best(prompt)
        for sentence in chosen:
            yield Piece(" ".join(sentence.text.split()) + "\n")
        yield Piece(usage=Usage())

    def best(self, prompt: Prompt) -> list[Sentence]:
        """The best sentence and those hardly worse."""
        if not prompt.sentences:
            return []
        least = prompt.sentences[0].score - self.margin
        found = [sentence for sentence in prompt.sentences[: self.count] if sentence.score >= least]
        return together([sentence for sentence in found if sentence.answers] or found[:1])

    def central(self, prompt: Prompt, max_tokens: int) -> list[Sentence]:
        """The most central sentences that fit and say something new, at least one, in the text's order."""
        chosen: list[Sentence] = []
        said: set[str] = set()
        left = max_tokens
        for sentence in sorted(prompt.sentences, key=lambda each: not each.answers):
            here = set(words(sentence.text))
            cost = tokens(sentence.text)
            if chosen and (cost > left or not sentence.answers or len(here & said) > REPEATED * len(here)):
                continue
            chosen.append(sentence)
            said |= here
            left -= cost
        return sorted(chosen, key=lambda sentence: (sentence.passage, sentence.start))

    async def check(self) -> None:
        """It always can."""

    async def close(self) -> None:
        """It holds nothing."""


def together(found: list[Sentence]) -> list[Sentence]:
    """In the order given, but neighbours in one passage as they stand there: one may go on from the other."""
    runs: list[list[Sentence]] = []
    for each in sorted(found, key=lambda sentence: (sentence.passage, sentence.start)):
        last = runs[-1][-1] if runs else None
        if last and last.passage == each.passage and each.start - last.end <= BETWEEN:
            runs[-1].append(each)
        else:
            runs.append([each])
    runs.sort(key=lambda run: min(map(found.index, run)))
    return [sentence for run in runs for sentence in run]
