"""Tells a question that a passage answers from one that only looks like it: by names, numbers, "not", opposites.

Questions that a passage does not answer although it is about the same (SQuAD 2.0: Rajpurkar, Jia and Liang, ACL
2018) mostly differ from answerable ones in a name, a number, a negation or a word turned into its opposite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragline.v1.passage_pb2 import Passage
from services.generator.checks.citations import Needs, negates, number, stem
from services.generator.checks.evidence import PLAIN, Sentence, words
from services.generator.checks.opposites import opposites


@dataclass(frozen=True)
class Signs:
    """What speaks against the best sentence as an answer; each is 0 or 1, but for ``lead``.

    ``lead`` is how far its score lies above that of the next one. ``negated``: the question has a negation, the
    sentence has none. ``opposed``: the sentence, or one beside it, has the opposite of a word of the question that
    it lacks. ``number`` and ``name``: one of the question is in none of the three.
    """

    lead: float = 0.0
    negated: float = 0.0
    opposed: float = 0.0
    number: float = 0.0
    name: float = 0.0


NO_SIGNS = Signs()


def signs(query: str, found: Sequence[Sentence], passages: Sequence[Passage]) -> Signs:
    """The signs of a question and the sentences found for it; those that can be no answer are left out."""
    answers = sorted((each for each in found if each.answers), key=lambda each: -each.own)
    if not answers:
        return NO_SIGNS
    best = answers[0]
    passage = passages[best.passage]
    scored = passage.text[best.begin : best.end]
    around = forms(f"{passage.title} {passage.section} {beside(best, found)} {scored}")
    needs = Needs(query)
    missing = {word for word in needs.words if not there(word, around)}
    return Signs(
        lead=best.own - answers[1].own if len(answers) > 1 else 0.0,
        negated=float(needs.negated and not any(map(negates, words(scored)))),
        opposed=float(any(opposites(word) & around for word in missing)),
        number=float(bool(needs.numbers & missing)),
        name=float(bool((needs.names - PLAIN) & missing)),
    )


def beside(best: Sentence, found: Sequence[Sentence]) -> str:
    """The sentence with the ones before and after it."""
    ordered = sorted((each for each in found if each.passage == best.passage), key=lambda each: each.start)
    at = next(place for place, each in enumerate(ordered) if each.start == best.start)
    return " ".join(each.text for each in ordered[max(0, at - 1) : at + 2])


def forms(text: str) -> frozenset[str]:
    """The words of a text, and these without their endings."""
    plain = {number(word) for word in words(text)}
    return frozenset(plain | {stem(word) for word in plain})


def there(word: str, bag: frozenset[str]) -> bool:
    """Whether a word is among others, in whatever form."""
    return word in bag or stem(word) in bag
