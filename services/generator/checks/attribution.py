"""Finds what the passages say of a claim, by its words, then by likeness; and says what of it no passage has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from services.generator.checks.alike import LEAST_CHANCE, chance, contradicts, weakest
from services.generator.checks.citations import LEAST_SUPPORT, Citer, Needs, Source, Support
from services.generator.checks.judging import Judge, Likeness

# So many pieces of passages, those that share most words with a claim, are compared with it.
COMPARED = 8
# A piece that shares fewer of a claim's words with it is about something else, however alike.
LEAST_SHARED = 0.25
# So many words are named in a reason.
NAMED = 5

Rule = Literal["words", "likeness"]


@dataclass(frozen=True)
class Verdict:
    """What became of a claim: its support and the rule that found it, or the reason why there is none.

    ``share`` of the claim's words stands in the piece that holds most, by words alone; 0 where a number, a name or
    a negation is not there. ``chance`` is that of the likeliest piece, where the reranker was asked.
    """

    claim: str
    support: Support | None = None
    rule: Rule | None = None
    reason: str = ""
    share: float = 0.0
    chance: float | None = None


class Attribution:
    """Checks the claims of one answer. Without a ``judge`` words alone decide."""

    def __init__(self, citer: Citer, judge: Judge | None = None) -> None:
        self.citer = citer
        self.judge = judge

    async def check(self, claims: Sequence[str]) -> list[Verdict]:
        """A verdict a claim, in their order; one call of the reranker for each that words do not settle."""
        needs = [Needs(claim) for claim in claims]
        made = [self.by_words(claim, need) for claim, need in zip(claims, needs, strict=True)]
        if self.judge is None:
            return made
        doubtful = [at for at, verdict in enumerate(made) if verdict.share < 1.0]
        pieces = [self.comparable(needs[at]) for at in doubtful]
        pairs = [(claims[at], few) for at, few in zip(doubtful, pieces, strict=True)]
        for at, few, alike in zip(doubtful, pieces, await self.judge.compare(pairs), strict=True):
            if alike:
                made[at] = self.by_likeness(made[at], needs[at], few, alike)
        return made

    def by_words(self, claim: str, needs: Needs) -> Verdict:
        """The piece that holds most of the claim's words, all of its numbers and names, and its negation."""
        support = self.citer.support(claim, needs)
        if support is None:
            return Verdict(claim, reason=self.reason(needs))
        if reason := contradicts(needs, self.citer.source(support)):
            return Verdict(claim, share=support.score, reason=reason)
        return Verdict(claim, support, "words", share=support.score)

    def comparable(self, needs: Needs) -> list[Source]:
        """The pieces that could support it: those with its numbers and names that share most words with it."""
        if not needs.words:
            return []
        least = LEAST_SHARED * len(needs.words)
        able = [each for each in self.citer.sources if each.certain(needs) and len(each.known(needs)) >= least]
        return sorted(able, key=lambda source: -len(source.known(needs)))[:COMPARED]

    def by_likeness(
        self, made: Verdict, needs: Needs, pieces: Sequence[Source], alike: Sequence[Likeness]
    ) -> Verdict:
        """The piece most likely to say the claim, if any is likely enough and none of its words says otherwise."""
        chances = [chance(weakest(needs, piece, one)) for piece, one in zip(pieces, alike, strict=True)]
        best = max(range(len(pieces)), key=chances.__getitem__)
        piece, likely = pieces[best], chances[best]
        if reason := contradicts(needs, piece) if likely >= LEAST_CHANCE else self.reason(needs):
            return replace(made, support=None, rule=None, reason=reason, chance=likely)
        support = Support(piece.passage, piece.start, piece.end, held(needs, piece, alike[best]))
        return replace(made, support=support, rule="likeness", reason="", chance=likely)

    def reason(self, needs: Needs) -> str:
        """What of a claim no passage has: numbers first, then names, then words."""
        if not needs.words:
            return "it says nothing that a passage could support"
        sources = self.citer.sources
        here = {word for source in sources for word in (*source.words, *source.heading)}
        if lost := needs.numbers - here:
            return named("no passage has the number", needs, lost)
        if lost := needs.names - here:
            return named("no passage has the name", needs, lost)
        able = [source for source in sources if source.certain(needs)]
        if not able:
            return named("no sentence has all of", needs, needs.numbers | needs.names)
        nearest = max(able, key=lambda source: len(source.known(needs)))
        lost = needs.words - nearest.known(needs)
        turned = contradicts(needs, nearest)
        if lost and not (turned and len(lost) <= (1 - LEAST_SUPPORT) * len(needs.words)):
            return named("the closest sentence lacks the word", needs, lost)
        return turned or "no sentence holds enough of it"


def named(what: str, needs: Needs, lost: set[str]) -> str:
    """A reason with the first words of the claim that are lost, as they were written."""
    written = [needs.written[word] for word in dict.fromkeys(needs.ordered) if word in lost]
    more = f" and {len(written) - NAMED} more" if len(written) > NAMED else ""
    return (
        f"{what}{'s' if len(written) > 1 and not what.endswith('of') else ''} {', '.join(written[:NAMED])}{more}"
    )


def held(needs: Needs, source: Source, alike: Likeness) -> float:
    """How much of the claim the piece holds: its words, and those that are like one by how much they are."""
    known = source.known(needs)
    total = sum(1.0 if word in known else max(0.0, alike.words.get(word, 0.0)) for word in needs.words)
    return min(1.0, total / len(needs.words))
