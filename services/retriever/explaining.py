"""Says of each hit why it is where it is: what every stage made of it, in the order of the stages."""

from __future__ import annotations

from typing import Any

from ragline.highlights import highlights
from services.retriever.asking import Hit, How


def explanation(query: str, hit: Hit, how: How | None, place: int) -> dict[str, Any]:
    """What ``explain`` tells of the hit at ``place``, from 1; JSON types only, null where a stage did not act."""
    fused, reranked = hit.fused, hit.reranked
    return {
        "mode": how and how.mode,
        "fusion": how and how.method,
        "dense_weight": how and how.dense_weight,
        "dense_rank": fused.dense_rank,
        "sparse_rank": fused.sparse_rank,
        "dense_score": fused.dense_score,
        "sparse_score": fused.sparse_score,
        "dense_normalised": None if how is None else scaled(fused.dense_score, how.low, how.high),
        "sparse_normalised": None if how is None else scaled(fused.sparse_score, 0.0, how.best),
        "fused_score": fused.score,
        "fused_rank": hit.place,
        "rerank_score": reranked and reranked.score,
        "rerank_raw": reranked and reranked.raw,
        "scorer": hit.scorer or None,
        "matches": highlights(query, hit.passage, reranked.matches if reranked else (), hit.own),
        "diversity_score": hit.diversity_score,
        "duplicates": list(hit.duplicates),
        "neighbours": list(hit.joined),
        "why": why(hit, how, place),
    }


def scaled(score: float | None, low: float | None, high: float | None) -> float | None:
    """A score from 0 to 1 among those of its side, as weighted fusion takes it."""
    if score is None or low is None or high is None:
        return None
    return (score - low) / (high - low) if high > low else 1.0


def why(hit: Hit, how: How | None, place: int) -> str:
    """A sentence: what decided the place, from the last stage that acted to the first."""
    fused = hit.fused
    sides = [
        f"{name} {'did not return it' if rank is None else f'rank {rank}'}"
        for name, rank in (("dense", fused.dense_rank), ("sparse", fused.sparse_rank))
        if how is None or how.mode in ("hybrid", name)
    ]
    fusion = "" if how is None or how.method == "single" else f" by {how.method} fusion"
    parts = [f"rank {hit.place}{fusion} ({', '.join(sides)})"]
    if hit.reranked is not None:
        parts.insert(0, f"the reranker's {hit.scorer} gave it {hit.reranked.score:.4g}")
    if hit.diversity_score is not None:
        parts.insert(0, f"maximal marginal relevance chose it with {hit.diversity_score:.4g}")
    if hit.duplicates:
        parts.append(f"shown for {len(hit.duplicates)} more that say nearly the same")
    if hit.joined:
        parts.append(f"widened with {len(hit.joined)} neighbours")
    return f"Place {place}: {'; '.join(parts)}."
