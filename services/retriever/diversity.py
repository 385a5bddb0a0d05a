"""Orders candidates so that each adds something to those before it: maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.retriever.stores import Vectors


def ordered(relevance: Sequence[float], vectors: Vectors, diversity: float, count: int) -> list[tuple[int, float]]:
    """The places of the ``count`` candidates chosen one after the other, and the score that each was chosen by.

    (1 - ``diversity``) * relevance - ``diversity`` * the greatest cosine with one chosen before (Carbonell and
    Goldstein, SIGIR 1998). Relevance is scaled to 0 to 1; ``vectors`` (n, dimensions) have unit length. Ties go
    to the one that came first.
    """
    wanted = np.asarray(relevance, dtype=np.float64)
    if not len(wanted):
        return []
    spread = float(np.ptp(wanted))
    wanted = (wanted - wanted.min()) / spread if spread > 0 else np.ones(len(wanted))
    nearest = np.zeros(len(wanted))
    open_places = np.ones(len(wanted), dtype=np.bool_)
    chosen: list[tuple[int, float]] = []
    for step in range(min(count, len(wanted))):
        scores = np.where(open_places, (1 - diversity) * wanted - diversity * nearest, -np.inf)
        best = int(np.argmax(scores))
        chosen.append((best, float(scores[best])))
        open_places[best] = False
        cosines = (vectors @ vectors[best]).astype(np.float64)
        nearest = cosines if step == 0 else np.maximum(nearest, cosines)
    return chosen
