"""Decides when not to answer: the chance that the passages hold an answer, and what is said instead of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragline.v1.passage_pb2 import Passage
from services.generator.markers import shown

NAMED = 3
TITLE_CHARS = 80


@dataclass(frozen=True)
class Features:
    """What the chance is computed from.

    ``sentence`` is the best sentence's own score; ``gap`` how far the best passage's score lies above the mean of
    the next five, which says whether one stands out. Both are raw scores of the scorer.
    """

    sentence: float
    gap: float


@dataclass(frozen=True)
class Calibration:
    """A logistic regression over ``Features``; ``typical_gap`` stands in where too few passages give none."""

    bias: float
    sentence: float
    gap: float
    typical_gap: float

    def chance(self, features: Features) -> float:
        """The chance, from 0 to 1, that the passages hold an answer."""
        gap = self.typical_gap if math.isnan(features.gap) else features.gap
        return 1 / (1 + math.exp(-(self.bias + self.sentence * features.sentence + self.gap * gap)))


# Fitted on SQuADShifts' new-Wikipedia set (Miller et al., ICML 2020) by `python -m eval.abstention`, which puts
# half of the passages in. On questions not fitted on, the area under the curve is 0.92; below a chance of 0.2 lie
# 3 % of the questions whose passage is in and 60 % of the others. By words alone the area is 0.80, fitted and
# measured with only each question's own passage taken out, which is harder.
LEXICAL = Calibration(bias=-2.58, sentence=5.03, gap=0.0, typical_gap=0.0)
CALIBRATIONS: Mapping[str, Calibration] = {
    "late_interaction": Calibration(bias=-9.57, sentence=17.02, gap=9.06, typical_gap=0.162)
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
