"""Compares two scorers' answers to one request: how like the orders are, and which a third likes better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

TOP = 10  # what is looked at of an order: about what anybody reads
TIE = 1e-6  # differences of DCG up to this are of rounding

Floats = npt.NDArray[np.float64]


class Outcome(StrEnum):
    """How the candidate's order did against the one that was served."""

    WIN = "win"
    TIE = "tie"
    LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Scored:
    """A scorer's answer to a request: a raw and a calibrated score a passage, in the order of the passages."""

    raw: Sequence[float]
    calibrated: Sequence[float]

    def order(self) -> list[int]:
        """The passages, best first; of equals the earlier one."""
        return best_first(self.raw)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How like two answers are.

    ``first``: 1 where the same passage is first, else 0. ``overlap``: the share of the first ten that they have
    in common. ``kendall``: tau-b over those in common, None where they are too few or all equal. ``difference``:
    the mean of |a - b| of the calibrated scores over all passages.
    """

    first: float
    overlap: float
    kendall: float | None
    difference: float

    def measures(self) -> dict[str, float]:
        """Those that there are, by name."""
        every = {"first": self.first, "overlap": self.overlap, "difference": self.difference}
        return every if self.kendall is None else every | {"kendall": self.kendall}


def best_first(raw: Sequence[float]) -> list[int]:
    """The indexes by falling score, equals in their order."""
    return sorted(range(len(raw)), key=lambda index: -raw[index])


def agreement(one: Scored, other: Scored) -> Agreement:
    """How like two answers about the same passages, one at least, are; it does not matter which is which."""
    first, second = one.order()[:TOP], other.order()[:TOP]
    common = sorted(set(first) & set(second))
    apart = np.abs(np.subtract(one.calibrated, other.calibrated))
    return Agreement(
        first=float(first[0] == second[0]),
        overlap=len(common) / len(first),
        kendall=tau_b([one.raw[index] for index in common], [other.raw[index] for index in common]),
        difference=float(apart.mean()),
    )


def tau_b(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's rank correlation with ties (Kendall, "The treatment of ties in ranking problems", 1945).

    None where it is not defined: fewer than two, or one side all equal.
    """
    ways = pairwise_signs(one), pairwise_signs(other)
    untied = [float(np.abs(signs).sum()) for signs in ways]
    if not min(untied):
        return None
    return float((ways[0] * ways[1]).sum() / np.sqrt(untied[0] * untied[1]))


def pairwise_signs(scores: Sequence[float]) -> Floats:
    """Of each pair of scores which is the higher: -1, 0 or 1."""
    values = np.asarray(scores, np.float64)
    rows, columns = np.triu_indices(len(values), 1)
    signs: Floats = np.sign(values[rows] - values[columns])
    return signs


def dcg(order: Sequence[int], gains: Mapping[int, float]) -> float:
    """Discounted cumulative gain of the first ten, one gain a passage (Järvelin, Kekäläinen, TOIS 20(4), 2002)."""
    return sum(gains[index] / float(np.log2(place + 2)) for place, index in enumerate(order[:TOP]))


def judge(served: Sequence[int], candidate: Sequence[int], gains: Mapping[int, float]) -> Outcome:
    """Whether the candidate's order has more of the judge's gains near its top than the one served."""
    ahead = dcg(candidate, gains) - dcg(served, gains)
    if abs(ahead) <= TIE:
        return Outcome.TIE
    return Outcome.WIN if ahead > 0 else Outcome.LOSS
