"""nDCG, recall and reciprocal rank of one ranking; means and paired bootstrap over many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROUNDS = 10_000
PICKS_AT_ONCE = 1_000_000  # numbers drawn at a time: 8 MB
TIE = 1e-9

Floats = npt.NDArray[np.float64]


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain with linear gains, as trec_eval's ndcg_cut."""
    gain = discounted([grades.get(document, 0) for document in ranking[:depth]])
    best = discounted(sorted(grades.values(), reverse=True)[:depth])
    return gain / best if best else 0.0


def discounted(grades: Sequence[int]) -> float:
    """The sum of grades, each divided by log2 of its rank + 1."""
    return sum(max(grade, 0) / float(np.log2(rank + 1)) for rank, grade in enumerate(grades, 1))


def recall(ranking: Sequence[str], grades: Mapping[str, int], depth: int = 100) -> float:
    """The share of relevant documents among the first ``depth``."""
    relevant = {document for document, grade in grades.items() if grade > 0}
    return len(relevant & set(ranking[:depth])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], grades: Mapping[str, int], depth: int = 10) -> float:
    """One over the rank of the first relevant document, 0 where none is among the first ``depth``."""
    for rank, document in enumerate(ranking[:depth], 1):
        if grades.get(document, 0) > 0:
            return 1 / rank
    return 0.0


def interval(differences: Sequence[float], rounds: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % paired bootstrap interval of the mean difference."""
    return bounds(resampled(differences, rounds, seed))


def bounds(means: Floats) -> tuple[float, float]:
    """What the middle 95 % lie between."""
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def resampled(values: Sequence[float], rounds: int = ROUNDS, seed: int = 0) -> Floats:
    """The means of ``rounds`` draws of as many values with replacement."""
    array = np.asarray(values, dtype=np.float64)
    draw = np.random.default_rng(seed)
    means = np.empty(rounds)
    step = max(1, PICKS_AT_ONCE // len(array))
    for start in range(0, rounds, step):
        count = min(step, rounds - start)
        means[start : start + count] = array[draw.integers(0, len(array), (count, len(array)))].mean(axis=1)
    return means


@dataclass(frozen=True)
class Difference:
    """How much better one system's values are than another's, query by query.

    ``low`` and ``high`` bound the mean with 95 %; ``p`` is the chance of a difference at least as large, either
    way, if there were none.
    """

    mean: float
    low: float
    high: float
    p: float
    wins: int
    losses: int
    ties: int

    def __str__(self) -> str:
        """The mean with its interval."""
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def difference(pairs: Sequence[Sequence[tuple[float, float]]], seed: int = 0) -> Difference:
    """Of (value, other) pairs, one sequence a set; the mean is that of the sets' means, each drawn by itself.

    Percentile interval, and p by the centred bootstrap (Efron and Tibshirani, 1993, sections 13.3 and 16.4); with
    one added to both counts, as no number of rounds shows that something never happens.
    """
    gaps = [[value - other for value, other in part] for part in pairs]
    drawn = np.mean([resampled(part, seed=seed + place) for place, part in enumerate(gaps)], axis=0)
    mean = float(np.mean([np.mean(part) for part in gaps]))
    low, high = bounds(drawn)
    extreme = int(np.sum(np.abs(drawn - mean) >= abs(mean) - TIE))
    every = [gap for part in gaps for gap in part]
    wins, losses = sum(gap > TIE for gap in every), sum(gap < -TIE for gap in every)
    p = (1 + extreme) / (1 + len(drawn))
    return Difference(mean, low, high, p, wins, losses, len(every) - wins - losses)
