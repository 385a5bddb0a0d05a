"""nDCG, recall and reciprocal rank of one ranking; means and paired bootstrap over many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


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
    values = np.asarray(differences, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(values), (rounds, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
