"""The chance that a piece of a passage says a claim whose words it does not all hold."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from services.generator.checks.citations import Needs, Source, negates, stem
from services.generator.checks.evidence import PLAIN
from services.generator.checks.judging import Likeness
from services.generator.checks.opposites import opposites

# Logistic regression on claims that `eval.claims` makes from SQuADShifts' new-Wikipedia set (docs/decisions/0033,
# which also says what `--fit` would give now): the reranker's MaxSim, the cosine of the word that is least like
# any in the passage, and how far the words come in the same order.
SCORE, WEAKEST, ORDER, BIAS = 0.98, 2.58, 0.60, -2.71
# At this chance two of three paraphrases pass, and of inventions far fewer than by seven words of ten.
LEAST_CHANCE = 0.33
# So many words behind a negation may be what it negates; in a longer sentence more may stand between them.
REACH, STRETCH = 5, 8


def features(needs: Needs, source: Source, likeness: Likeness) -> tuple[float, float, float]:
    """What the chance is computed from: ``score``, ``weakest`` and ``order``, each up to 1."""
    known = source.known(needs)
    weakest = min((likeness.words.get(word, 0.0) for word in needs.words - known), default=1.0)
    return likeness.score, weakest, order(needs, source)


def chance(found: tuple[float, float, float]) -> float:
    """From 0 to 1."""
    score, weakest, kept = found
    return 1 / (1 + math.exp(-(BIAS + SCORE * score + WEAKEST * weakest + ORDER * kept)))


def contradicts(needs: Needs, source: Source) -> str:
    """Why the piece says otherwise, though its words are the claim's; empty where nothing shows that."""
    held = source.held(needs)
    if source.negates(held) != needs.negated:
        return "the passage says it without a negation" if needs.negated else "the passage says it with a negation"
    if word := denied(needs.ordered, source.ordered):
        return f"the passage says it with a negation of {word!r}"
    if word := denied(source.ordered, needs.ordered):
        return f"the passage says it without a negation of {word!r}"
    for word in sorted(needs.words - source.known(needs)):
        if turned := opposites(word) & source.words:
            return f"the passage says {min(turned)!r}, not {word!r}"
    if exchanged(needs, source):
        return "the passage has the names in another order"
    return ""


def denied(said: Sequence[str], other: Sequence[str]) -> str:
    """The first word right behind a negation of ``other`` that ``said`` has without one; empty where none is."""
    for at, word in enumerate(other):
        if negates(word):
            head = next((each for each in other[at + 1 : at + 1 + REACH] if telling(each)), "")
            places = [place for place, each in enumerate(said) if head and each == head]
            if places and not any(any(map(negates, said[max(0, to - STRETCH) : to])) for to in places):
                return head
    return ""


def telling(word: str) -> bool:
    """Whether a folded word says what a text is about."""
    return word not in PLAIN and not negates(word)


def order(needs: Needs, source: Source) -> float:
    """The share of the claim's words in the piece that come there in the claim's order."""
    places: dict[str, list[int]] = {}
    for at, word in enumerate(source.ordered):
        for form in {word, stem(word)}:
            places.setdefault(form, []).append(at)
    before, met = -1, []
    for word in needs.ordered:
        found = places.get(word) or places.get(stem(word))
        if found and word in needs.words:
            before = next((at for at in found if at > before), min(found, key=lambda at: abs(at - before)))
            met.append(before)
    return rising(met) / len(met) if met else 0.0


def rising(places: Sequence[int]) -> int:
    """The length of the longest run, with gaps, that never falls."""
    ends: list[int] = []
    for place in places:
        at = bisect_right(ends, place)
        ends[at : at + 1] = [place]
    return len(ends)


def exchanged(needs: Needs, source: Source) -> bool:
    """Whether two names come the other way round, with the same word between them, and no passive explains it."""
    if ("by" in needs.ordered) != ("by" in source.words):
        return False
    once = [
        word
        for word in needs.ordered
        if word in needs.words and needs.ordered.count(word) == source.ordered.count(word) == 1
    ]
    place = {word: source.ordered.index(word) for word in once}
    names = [(at, word) for at, word in enumerate(once) if word in needs.names or word == needs.first]
    return any(
        place[right] < place[left]
        and any(
            place[right] < place[word] < place[left]
            for word in once[first + 1 : second]
            if word not in needs.names
        )
        for first, left in names
        for second, right in names
        if first < second
    )
