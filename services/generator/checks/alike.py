"""The chance that a piece of a passage says a claim whose words it does not all hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.generator.checks.citations import Needs, Source, negates
from services.generator.checks.evidence import PLAIN
from services.generator.checks.judging import Likeness
from services.generator.checks.opposites import opposites

# Logistic regression, fitted by `python -m eval.claims FOLDER --fit` on claims that it makes from SQuADShifts'
# new-Wikipedia set and that words alone do not settle (docs/decisions/0033): on the cosine of that word of the
# claim which is least like any in the passage.
WEAKEST, BIAS = 7.37, -3.06
# At this chance six of ten paraphrases pass, and of inventions far fewer than by seven words of ten.
LEAST_CHANCE = 0.42
# So many words behind a negation may be what it negates; in a longer sentence more may stand between them.
REACH, STRETCH = 5, 8


def weakest(needs: Needs, source: Source, likeness: Likeness) -> float:
    """How like the claim's least like word is, of those that the piece lacks; 1 where it lacks none."""
    return min((likeness.words.get(word, 0.0) for word in needs.words - source.known(needs)), default=1.0)


def chance(least: float) -> float:
    """From 0 to 1, of a claim whose least like word is so like."""
    return 1 / (1 + math.exp(-(BIAS + WEAKEST * least)))


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
