"""Joins a dense and a sparse ranking into one; pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


Scored = Sequence[tuple[int, float]]  # ids and scores, best first, no id twice


@dataclass(frozen=True, slots=True)
class Choice:
    """How to search for one query: ``mode`` is hybrid, dense or sparse, ``dense_weight`` as ``fuse`` takes it."""

    mode: str
    dense_weight: float


def choose(query: str, dense: Scored, sparse: Scored, cosines: Mapping[int, float]) -> Choice:
    """What mode ``auto`` does with ``query``, of which both rankings are known; ``cosines`` as for ``fuse``.

    So far the rankings' scores say all; the words of the query are there for what may say more.
    """
    if not dense or not sparse:
        return Choice("dense" if dense or not sparse else "sparse", DENSE_WEIGHT)
    return Choice("hybrid", confidence([score for _, score in dense], [score for _, score in sparse], cosines))


def confidence(dense: Sequence[float], sparse: Sequence[float], cosines: Mapping[int, float]) -> float:
    """The weight, between 0 and 1, that the dense side deserves by how its scores fall, best first, beside BM25.

    A side is sure of itself when its first results stand out; where the tenth is nearly as good as the first, it
    hardly tells them apart. Fewer than ten matches of words stand out most of all.
    """
    low = min(cosines.values(), default=0.0)
    spread = dense[0] - low
    near = (dense[min(PLACE, len(dense)) - 1] - low) / spread if spread > 0 else 1.0
    matching = sparse[PLACE - 1] / sparse[0] if len(sparse) >= PLACE and sparse[0] > 0 else 0.0
    return 1 / (1 + math.exp(DENSE_FLATNESS * near - SPARSE_FLATNESS * matching - EVEN))


def rrf(dense: Scored, sparse: Scored, k: int = RRF_K) -> dict[int, float]:
    """Reciprocal rank fusion: the sum of 1 / (k + rank) over the rankings (Cormack et al., SIGIR 2009)."""
    fused: dict[int, float] = {}
    for ranking in (dense, sparse):
        for rank, (identity, _) in enumerate(ranking, 1):
            fused[identity] = fused.get(identity, 0.0) + 1.0 / (k + rank)
    return fused


def weighted(cosines: Mapping[int, float], sparse: Scored, a: float = DENSE_WEIGHT) -> dict[int, float]:
    """Convex combination: ``a`` * min-max cosine + (1 - ``a``) * BM25 / greatest BM25 (Bruch et al., TOIS 2023).

    ``cosines`` covers every candidate; BM25 is 0 where sparse search did not return one.
    """
    if not cosines:
        return {}
    low = min(cosines.values())
    spread = max(cosines.values()) - low
    if spread > 0:
        fused = {identity: a * ((cosine - low) / spread) for identity, cosine in cosines.items()}
    else:
        fused = dict.fromkeys(cosines, a)
    best = max((score for _, score in sparse), default=0.0)
    if best > 0:
        for identity, score in sparse:
            fused[identity] += (1 - a) * (score / best)
    return fused


def ordered(
    scores: Mapping[int, float], dense: Scored, sparse: Scored, cosines: Mapping[int, float], limit: int
) -> list[Fused]:
    """The ``limit`` best, ties by id; ``cosines`` may know more of them than ``dense`` returned."""
    dense_ranks = {identity: rank for rank, (identity, _) in enumerate(dense, 1)}
    sparse_ranks = {identity: rank for rank, (identity, _) in enumerate(sparse, 1)}
    bm25 = dict(sparse)
    best = sorted([(-score, identity) for identity, score in scores.items()])[:limit]
    return [
        Fused(
            identity,
            -negated,
            dense_ranks.get(identity),
            sparse_ranks.get(identity),
            cosines.get(identity),
            bm25.get(identity),
        )
        for negated, identity in best
    ]


def fuse(
    method: str,
    dense: Scored,
    sparse: Scored,
    cosines: Mapping[int, float],
    limit: int,
    dense_weight: float | None = None,
) -> list[Fused]:
    """The ``limit`` best of both; ``cosines`` holds the cosine of every candidate.

    ``method`` is ``rrf``, ``weighted``, or ``single`` where only one side was asked: its own scores hold.
    ``dense_weight``, 0 to 1, is that of the dense side in ``weighted``; None: ``DENSE_WEIGHT``.
    """
    if method == "single":
        scores = dict(dense or sparse)
    elif method == "weighted":
        scores = weighted(cosines, sparse, DENSE_WEIGHT if dense_weight is None else dense_weight)
    else:
        scores = rrf(dense, sparse)
    return ordered(scores, dense, sparse, cosines, limit)
