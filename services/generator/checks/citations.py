"""Assigns and checks citations: which span of which passage, if any, supports a claim.

Citations come from this code and never from what an LLM wrote. A claim is supported by a sentence, or by two
neighbouring ones, that hold most of its words, each of its numbers and names, and its negation, if it has one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from ragline.v1.passage_pb2 import Passage
from services.generator.checks.evidence import PLAIN, WORD, Sentence, fold, span, words
from services.generator.checks.markers import unmarked

__all__ = ["Citation", "Citer", "Needs", "Source", "Support", "number", "unmarked"]

# A claim needs this share of its words in the quote; tuned so that a paraphrase passes and an invention does not.
LEAST_SUPPORT = 0.7

_NUMBERS = words("zero one two three four five six seven eight nine ten eleven twelve")
_DIGITS = {word: str(value) for value, word in enumerate(_NUMBERS)}
_NEGATIONS = frozenset(words("no not never none nor neither nobody nothing without cannot"))
_ENDINGS = ("ing", "ed", "er", "ly", "es", "e")


@dataclass(frozen=True)
class Citation:
    """``quote`` is the document's source text from ``start`` to ``end``, letter by letter."""

    marker: str
    document_id: str
    passage_id: str
    quote: str
    start: int
    end: int
    page: int | None
    score: float


@dataclass(frozen=True)
class Support:
    """The piece ``passages[passage].text[start:end]`` and how much of a claim it holds, up to 1."""

    passage: int
    start: int
    end: int
    score: float


class Citer:
    """Checks the claims of one answer and numbers what they rest on in the order of appearance."""

    def __init__(self, passages: Sequence[Passage], found: Sequence[Sentence]) -> None:
        self.passages = passages
        self.sources = windows(passages, found)
        self.citations: list[Citation] = []

    def support(self, claim: str, needs: Needs | None = None) -> Support | None:
        """The best support for the claim by its words; None if there is none. One sentence is preferred to two."""
        needs = needs or Needs(claim)
        best: Support | None = None
        for source in self.sources:
            score = source.holds(needs)
            if score >= LEAST_SUPPORT and (best is None or score > best.score):
                best = Support(source.passage, source.start, source.end, score)
        return best

    def source(self, support: Support) -> Source:
        """The piece of a passage that supports."""
        wanted = support.passage, support.start, support.end
        return next(each for each in self.sources if (each.passage, each.start, each.end) == wanted)

    def cite(self, support: Support) -> tuple[Citation, bool] | None:
        """The citation of a support, and whether it is new; None where the source has no such span."""
        passage = self.passages[support.passage]
        start, end, quote = span(passage, support.start, support.end)
        if not quote or len(quote) != end - start:
            return None
        for known in self.citations:
            if (known.document_id, known.start, known.end) == (passage.document_id, start, end):
                return known, False
        citation = Citation(
            marker=f"[{len(self.citations) + 1}]",
            document_id=passage.document_id,
            passage_id=passage.id,
            quote=quote,
            start=start,
            end=end,
            page=page(passage, start),
            score=round(support.score, 4),
        )
        self.citations.append(citation)
        return citation, True


class Needs:
    """What a quote must hold to support a claim."""

    def __init__(self, claim: str) -> None:
        found = [match.group() for match in WORD.finditer(claim)]
        folded = [number(fold(word)) for word in found]
        self.ordered = folded
        self.written = dict(zip(reversed(folded), reversed(found), strict=True))
        self.words = {word for word in folded if word not in PLAIN and word not in _NEGATIONS}
        self.numbers = {word for word in folded if any(letter.isdigit() for letter in word)}
        named = (number(fold(word)) for word in found[1:] if word[0].isupper())
        self.names = {word for word in named if word not in PLAIN} - self.numbers
        self.first = folded[0] if found and folded[0] in self.words - self.numbers else None
        self.negated = any(negates(word) for word in folded)


class Source:
    """One or two neighbouring sentences of a passage, ready to be compared."""

    def __init__(self, passage: int, start: int, end: int, ordered: list[str], heading: frozenset[str]) -> None:
        self.passage, self.start, self.end = passage, start, end
        self.ordered = ordered
        self.words = set(ordered)
        self.stems = {stem(word) for word in self.words}
        self.heading = heading

    def holds(self, needs: Needs) -> float:
        """The share of the claim's words that are here; 0 where a number, a name or the negation is not.

        Words of the heading count too, since it says what a passage is about, but not for more than half.
        """
        if not needs.words or not self.certain(needs):
            return 0.0
        held = self.held(needs)
        known = held | (needs.words & self.heading)
        if needs.first and needs.first not in known:
            return 0.0
        if 2 * len(held) < len(needs.words) or self.negates(held) != needs.negated:
            return 0.0
        return len(known) / len(needs.words)

    def certain(self, needs: Needs) -> bool:
        """Whether every number and name of the claim is here, which nothing else can stand in for."""
        return needs.numbers <= self.words and needs.names <= self.words | self.heading

    def held(self, needs: Needs) -> set[str]:
        """The claim's words that are here, in whatever form."""
        return {word for word in needs.words if word in self.words or stem(word) in self.stems}

    def known(self, needs: Needs) -> set[str]:
        """Those that are here or in the heading."""
        return self.held(needs) | (needs.words & self.heading)

    def negates(self, held: set[str]) -> bool:
        """Whether a negation stands between the first and the last of the words, or right before the first."""
        places = [at for at, word in enumerate(self.ordered) if word in held]
        return bool(places) and any(map(negates, self.ordered[max(0, places[0] - 3) : places[-1] + 1]))


def page(passage: Passage, start: int) -> int | None:
    """The page on which the source's ``start`` stands; None where the format has no pages."""
    return passage.page + bisect_right(passage.page_starts, start) if passage.page else None


def windows(passages: Sequence[Passage], found: Sequence[Sentence]) -> list[Source]:
    """Each sentence, then each pair of neighbours in one passage."""
    headings = [frozenset(map(number, words(f"{each.title} {each.section}"))) for each in passages]
    singles = [
        Source(at.passage, at.start, at.end, [number(word) for word in words(at.text)], headings[at.passage])
        for at in found
    ]
    ordered = sorted(singles, key=lambda each: (each.passage, each.start))
    return singles + [
        Source(left.passage, left.start, right.end, left.ordered + right.ordered, left.heading)
        for left, right in pairwise(ordered)
        if left.passage == right.passage
    ]


def number(word: str) -> str:
    """A number in one spelling: ``two`` as ``2``, ``1,000`` as ``1000``."""
    if word[0].isdigit():
        return word.replace(",", "")
    return _DIGITS.get(word, word)


def negates(word: str) -> bool:
    """Whether a folded word negates."""
    return word in _NEGATIONS or word.endswith("n't")


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A folded word without the ending of its form: ``restoring`` and ``restored`` as ``restor``."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            bare = word.removesuffix(ending)
            return bare[:-1] if bare[-1] == bare[-2] else bare
    return word
