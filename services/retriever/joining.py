"""Joins the two rankings of a query into one, over arrays: a search spends microseconds on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.retriever.asking import How
from services.retriever.fusion import RRF_K, Fused
from services.retriever.stores import Ranking, Rows, Vectors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NOTHING = Ranking(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


@dataclass(frozen=True)
class Joined:
    """All candidates of a query: those of the dense ranking in its order, then those of the sparse one alone.

    One entry a candidate: its row, cosine and BM25, and its rank on each side from 1, 0 where it has none.
    ``cosines`` is None where the query has no vector.
    """

    rows: Rows
    cosines: Floats | None
    bm25: Floats
    dense_ranks: Ints
    sparse_ranks: Ints

    def best(self, mode: str, method: str, weight: float, limit: int) -> tuple[list[Fused], How]:
        """The ``limit`` best, ties by row; ``mode`` is never auto, ``weight`` is the dense side's."""
        low, high, best = bounds(self.cosines), bounds(self.cosines, least=False), bounds(self.bm25, least=False)
        how = How(mode, method, weight if method == "weighted" else None, low, high, best or None)
        scores, held = self.scores(mode, how)
        order = np.lexsort((self.rows, -scores)) if held is None else ordered(self.rows, scores, held)
        top = order[:limit]
        cosines = [None] * len(top) if self.cosines is None else self.cosines[top].tolist()
        fused = [
            Fused(row, score, dense or None, sparse or None, cosine, bm25 if sparse else None)
            for row, score, dense, sparse, cosine, bm25 in zip(
                self.rows[top].tolist(),
                scores[top].tolist(),
                self.dense_ranks[top].tolist(),
                self.sparse_ranks[top].tolist(),
                cosines,
                self.bm25[top].tolist(),
                strict=True,
            )
        ]
        return fused, how

    def scores(self, mode: str, how: How) -> tuple[Floats, NDArray[np.bool_] | None]:
        """Each candidate's score, and which of them count; None: all.

        ``rrf`` is the sum of 1 / (60 + rank) over the rankings (Cormack et al., SIGIR 2009).
        """
        if how.method == "weighted" and self.cosines is not None:
            return self.weighted(how), None
        if how.method == "rrf":
            dense = np.where(self.dense_ranks > 0, 1.0 / (RRF_K + self.dense_ranks), 0.0)
            return dense + np.where(self.sparse_ranks > 0, 1.0 / (RRF_K + self.sparse_ranks), 0.0), None
        if mode == "dense" and self.cosines is not None:
            return self.cosines, self.dense_ranks > 0
        return self.bm25, self.sparse_ranks > 0

    def weighted(self, how: How) -> Floats:
        """A convex sum of min-max cosines and BM25 over its greatest (Bruch et al., TOIS 2023)."""
        assert self.cosines is not None  # noqa: S101 - the caller has looked
        weight, low, high = how.dense_weight or 0.0, how.low or 0.0, how.high or 0.0
        near = weight * ((self.cosines - low) / (high - low)) if high > low else np.full(len(self.rows), weight)
        return near + (1 - weight) * (self.bm25 / how.best) if how.best else near


def joined(dense: Ranking, sparse: Ranking, cosines: Callable[[Rows], Vectors] | None) -> Joined:
    """The candidates of both rankings; ``cosines`` gives those of rows that the dense one did not return."""
    count = len(dense.rows)
    order = np.argsort(dense.rows)
    if count:
        places = order[np.minimum(np.searchsorted(dense.rows, sparse.rows, sorter=order), count - 1)]
        shared = dense.rows[places] == sparse.rows
    else:
        places, shared = np.zeros(len(sparse.rows), dtype=np.int64), np.zeros(len(sparse.rows), dtype=np.bool_)
    alone = sparse.rows[~shared]
    size = count + len(alone)
    places[~shared] = np.arange(count, size)
    bm25, dense_ranks, sparse_ranks = (
        np.zeros(size),
        np.zeros(size, dtype=np.int64),
        np.zeros(size, dtype=np.int64),
    )
    bm25[places] = sparse.scores
    dense_ranks[:count] = np.arange(1, count + 1)
    sparse_ranks[places] = np.arange(1, len(places) + 1)
    near = None
    if cosines is not None:
        near = np.concatenate([dense.scores, cosines(alone)] if len(alone) else [dense.scores]).astype(np.float64)
    return Joined(np.concatenate([dense.rows, alone]), near, bm25, dense_ranks, sparse_ranks)


def ordered(rows: Rows, scores: Floats, held: NDArray[np.bool_]) -> Ints:
    """The places that count, best first, ties by row."""
    places = np.flatnonzero(held)
    return places[np.lexsort((rows[places], -scores[places]))]


def bounds(values: Floats | None, *, least: bool = True) -> float | None:
    """The least or the greatest value; None where there is none."""
    if values is None or not len(values):
        return None
    return float(values.min() if least else values.max())
