"""Decides when not to answer: the chance that the passages hold an answer, and what is said instead of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ragline.v1.passage_pb2 import Passage
from services.generator.checks.lookalike import NO_SIGNS, Signs
from services.generator.checks.markers import shown

NAMED = 3
TITLE_CHARS = 80


@dataclass(frozen=True)
class Features:
    """What the chance is computed from.

    ``sentence`` is the best sentence's own score; ``gap`` how far the best passage's score lies above the mean of
    the next five, which says whether one stands out. Both are raw scores of the scorer. ``signs`` say whether the
    sentence answers this very question.
    """

    sentence: float
    gap: float
    signs: Signs = NO_SIGNS


@dataclass(frozen=True)
class Calibration:
    """Two logistic regressions: that the passage is among those found, and that it says what is asked.

    ``typical_gap`` stands in where too few passages give none. Without ``asked``, the second one's bias, and
    weights by name, the first is all.
    """

    bias: float
    sentence: float
    gap: float
    typical_gap: float
    asked: Mapping[str, float] | None = None

    def chance(self, features: Features) -> float:
        """The chance, from 0 to 1, that the passages hold an answer."""
        return math.prod(1 / (1 + math.exp(-sum(terms.values()))) for terms in self.terms(features))

    def terms(self, features: Features) -> list[dict[str, float]]:
        """What each feature adds to the log odds, by name, for each of the regressions."""
        gap = self.typical_gap if math.isnan(features.gap) else features.gap
        found = {"bias": self.bias, "sentence": self.sentence * features.sentence, "gap": self.gap * gap}
        if not self.asked:
            return [found]
        values = {"bias": 1.0, "sentence": features.sentence, **asdict(features.signs)}
        return [found, {name: weight * values[name] for name, weight in self.asked.items()}]


# Fitted by `python -m eval.abstention` on SQuADShifts' new-Wikipedia set (Miller et al., ICML 2020), with half of
# its passages in, on questions whose passage is in, whose passage is not, and that were turned into others by rule
# (docs/decisions/0033). The biases stand for 85 of 100 questions having their passage, and 85 of 100 of these
# asking what it says. By words alone each question's own passage was taken out, which is harder.
LEXICAL = Calibration(bias=-2.58, sentence=5.03, gap=0.0, typical_gap=0.0)
CALIBRATIONS: Mapping[str, Calibration] = {
    "late_interaction": Calibration(
        bias=-8.18,
        sentence=17.88,
        gap=9.21,
        typical_gap=0.177,
        asked={
            "bias": -1.06,
            "sentence": 6.28,
            "lead": 1.30,
            "negated": -3.61,
            "opposed": -3.07,
            "number": -1.13,
            "name": -1.09,
        },
    )
}


def gap(scores: Sequence[float]) -> float:
    """The best score less the mean of the next five; NaN where there are fewer than three in all."""
    ordered = sorted(scores, reverse=True)[:6]
    if len(ordered) < 3:
        return math.nan
    return ordered[0] - sum(ordered[1:]) / (len(ordered) - 1)


def refusal(collection: str, passages: Sequence[Passage]) -> str:
    """What is said instead of an answer: what was looked at, with the closest documents by name."""
    if not passages:
        return f"I found nothing in collection '{collection}' that answers this: no passage of it came up."
    titles = dict.fromkeys(shown(passage.title or passage.document_id)[:TITLE_CHARS] for passage in passages)
    named = list(titles)[:NAMED]
    listed = ", ".join(named[:-1]) + f" and {named[-1]}" if len(named) > 1 else named[0]
    closest = "passages are" if len(passages) > 1 else "passage is"
    return f"I found nothing in collection '{collection}' that answers this. The closest {closest} from {listed}."
