"""What joining two rankings means, plainly: `services.retriever.joining` gives the same over arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.retriever.fusion import DENSE_WEIGHT, RRF_K, Fused
from services.retriever.stores import Ranking

Scored = Sequence[tuple[int, float]]  # ids and scores, best first, no id twice


def scored(ranking: Ranking) -> Scored:
    """A ranking as pairs."""
    return list(zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True))


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
