"""Finds and scores the sentences that an answer can rest on, and the exact source span of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ragline.sentences import sentences
from ragline.spans import embedded_text, to_source
from ragline.v1.passage_pb2 import Passage

# Scripts without spaces between words count letter by letter: kana and Chinese characters.
_LETTER = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_LETTER}]|[^\W_{_LETTER}]+(?:['\u2019.,][^\W_{_LETTER}]+)*")
CLOSING = " \t\n\"'`*_)]\u201d\u2019\u00bb"
# What a sentence's own score weighs against its passage's: tuned on squadshifts-newwiki and -amazon.
PASSAGE_WEIGHT = 0.5
# So many sentences are looked at for one answer, by their words.
MOST_SENTENCES = 1000


@dataclass(frozen=True)
class Sentence:
    """``text`` is ``passages[passage].text[start:end]``.

    ``own`` says how well it answers the query by itself, ``score`` together with its passage. ``question`` is
    where the question begins that it follows, as in a list of frequent questions: it is scored with that.
    """

    passage: int
    start: int
    end: int
    text: str
    own: float = 0.0
    score: float = 0.0
    question: int | None = None

    @property
    def begin(self) -> int:
        """Where that begins which is scored."""
        return self.start if self.question is None else self.question

    @property
    def answers(self) -> bool:
        """Whether it can be an answer: it is no heading, no question, and no fragment of one or two words."""
        if self.text.startswith("#") or self.asks:
            return False
        return len(WORD.findall(self.text)) > 2 or any(letter.isdigit() for letter in self.text)

    @property
    def asks(self) -> bool:
        """Whether it is a question."""
        return self.text.rstrip(CLOSING).endswith(("?", "\uff1f"))


@lru_cache(maxsize=65_536)
def fold(word: str) -> str:
    """A word as it is compared: without case, possessive and plural (Harman 1991, the S stemmer)."""
    folded = word.casefold().replace("\u2019", "'").removesuffix("'s")
    if len(folded) < 4 or not folded.endswith("s"):
        return folded
    if folded.endswith("ies"):
        return folded[:-3] + "y"
    return folded if folded.endswith(("ss", "us", "is")) else folded[:-1]


def words(text: str) -> list[str]:
    """The folded words of a text, in order."""
    return [fold(match.group()) for match in WORD.finditer(text)]


# Words that say little of what a text is about, folded.
PLAIN = frozenset(
    words(
        "a an and any are as at be been but by can could did do does for from had has have he her his how i if in "
        "into is it its may might must of on or our she should so some such than that the their them then there "
        "these they this those to was we were what when where which while who whom whose why will with would you "
        "your"
    )
)


def split(passages: Sequence[Passage], limit: int = MOST_SENTENCES) -> list[Sentence]:
    """The first ``limit`` sentences of the passages, best passage first; one that two passages share, once."""
    found: list[Sentence] = []
    seen: set[tuple[str, int]] = set()
    for index, passage in enumerate(passages):
        for start, end in sentences(passage.text):
            place = passage.document_id, to_source(passage.offsets, passage.start, start)
            if place in seen or not WORD.search(passage.text, start, end):
                continue
            if len(found) == limit:
                return found
            seen.add(place)
            found.append(Sentence(index, start, end, passage.text[start:end]))
    return found


def heading(passage: Passage, text: str) -> str:
    """A piece of a passage under the passage's heading, as the reranker sees it."""
    return embedded_text(passage.title, passage.section, text)


def scored(
    found: Sequence[Sentence], own: Sequence[float], passages: Sequence[float], weight: float = PASSAGE_WEIGHT
) -> list[Sentence]:
    """The sentences with their scores: ``own`` is one a sentence, ``passages`` one a passage; best first.

    Those that cannot be an answer come last.
    """
    result = [
        replace(sentence, own=score, score=score + weight * passages[sentence.passage])
        for sentence, score in zip(found, own, strict=True)
    ]
    return sorted(result, key=lambda sentence: (not sentence.answers, -sentence.score))


class Overlap:
    """The share of the query's words that a text holds, from 0 to 1, rare words counting more.

    How rare a word is is estimated from ``pool``, the texts of all candidates, by plain search, which is quick.
    Words such as "the" and "who" count only in a query that has no others.
    """

    def __init__(self, query: str, pool: Iterable[str]) -> None:
        asked = set(words(query)) - PLAIN or set(words(query))
        texts = [text.casefold() for text in pool]
        self.weights = {
            word: math.log(1 + (1 + len(texts)) / (1 + sum(word in text for text in texts))) for word in asked
        }
        self.total = sum(self.weights.values()) or 1.0

    def share(self, *texts: str) -> float:
        """The share that the texts together hold."""
        held = {word for text in texts for word in words(text)}
        return sum(weight for word, weight in self.weights.items() if word in held) / self.total


def span(passage: Passage, start: int, end: int) -> tuple[int, int, str]:
    """Begin, end and text, in the document's source, of ``passage.text[start:end]``."""
    source = passage.source or passage.text
    first = to_source(passage.offsets, passage.start, start)
    last = to_source(passage.offsets, passage.start, end - 1) + 1
    return first, last, source[first - passage.start : last - passage.start]
