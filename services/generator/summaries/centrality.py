"""Ranks the sentences of a text by how central they are: LexRank (Erkan and Radev, JAIR 2004) over words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from services.generator.checks.evidence import Sentence, words

DAMPING = 0.85
ROUNDS = 30
# A sentence of fewer words is mostly a heading or an exclamation.
LEAST_WORDS = 4


def ranked(found: Sequence[Sentence]) -> list[Sentence]:
    """The sentences with their centrality as score, most central first; equal ones keep the text's order.

    Takes time and memory that grow with the square of the number of sentences; the caller bounds it.
    """
    if not found:
        return []
    weights = centrality(vectors([words(each.text) for each in found]))
    lengths = [len(words(each.text)) for each in found]
    scores = [weight if length >= LEAST_WORDS else 0.0 for weight, length in zip(weights, lengths, strict=True)]
    result = [replace(each, score=float(score)) for each, score in zip(found, scores, strict=True)]
    return sorted(result, key=lambda each: -each.score)


def vectors(bags: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
    """TF-IDF of each sentence, unit length, as rows."""
    frequency = Counter(word for bag in bags for word in set(bag))
    column = {word: at for at, word in enumerate(frequency)}
    matrix = np.zeros((len(bags), max(1, len(column))), dtype=np.float32)
    for row, bag in enumerate(bags):
        for word, count in Counter(bag).items():
            matrix[row, column[word]] = count * math.log(1 + len(bags) / frequency[word])
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.maximum(norms, 1e-9), dtype=np.float32)


def centrality(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The stationary distribution of a walk between similar sentences."""
    similar = (rows @ rows.T).astype(np.float64)
    np.fill_diagonal(similar, 0.0)
    sums = similar.sum(axis=1, keepdims=True)
    count = len(rows)
    steps = np.where(sums > 0, similar / np.maximum(sums, 1e-12), 1 / count)
    weights = np.full(count, 1 / count)
    for _ in range(ROUNDS):
        weights = (1 - DAMPING) / count + DAMPING * (steps.T @ weights)
    return weights
