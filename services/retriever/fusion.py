"""How much a dense and a sparse ranking weigh when they become one; pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

RRF_K = 60
DENSE_WEIGHT = 0.6  # best of all on training sets: docs/decisions/0019
# Of ``confidence``, fitted on questions, topics and sentences of training sets: see there, too
PLACE = 10
EVEN = 4.85
DENSE_FLATNESS = 8.3
SPARSE_FLATNESS = 3.7


class Fused(NamedTuple):
    """A passage with its fused score and what each side said of it; ranks are 1-based, None where not returned.

    A tuple, because a hundred of them are made for every query.
    """

    id: int
    score: float
    dense_rank: int | None
    sparse_rank: int | None
    dense_score: float | None
    sparse_score: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """How to search for one query: ``mode`` is hybrid, dense or sparse; hybrid has a ``dense_weight``, 0 to 1."""

    mode: str
    dense_weight: float


def choose(dense: Sequence[float], sparse: Sequence[float], low: float) -> Choice:
    """What mode ``auto`` does, by the scores of both rankings, best first; ``low`` is the least cosine of all."""
    if not dense or not sparse:
        return Choice("dense" if dense or not sparse else "sparse", DENSE_WEIGHT)
    return Choice("hybrid", confidence(dense, sparse, low))


def confidence(dense: Sequence[float], sparse: Sequence[float], low: float) -> float:
    """The weight, between 0 and 1, that the dense side deserves by how its scores fall, best first, beside BM25.

    A side is sure of itself when its first results stand out; where the tenth is nearly as good as the first, it
    hardly tells them apart. Fewer than ten matches of words stand out most of all.
    """
    spread = dense[0] - low
    near = (dense[min(PLACE, len(dense)) - 1] - low) / spread if spread > 0 else 1.0
    matching = sparse[PLACE - 1] / sparse[0] if len(sparse) >= PLACE and sparse[0] > 0 else 0.0
    return 1 / (1 + math.exp(DENSE_FLATNESS * near - SPARSE_FLATNESS * matching - EVEN))
