"""Keeps scores, so that the same question about the same passages is scored once: by content, never stale."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import orjson

from ragline.cache import Cache
from services.reranker.scorers import Candidate, Scorer, Statistics

PREFIX = "scores:"
SCORE = np.dtype("<f8")

Score = Callable[[Sequence[Candidate]], Awaitable[list[float]]]


class Scores:
    """A cache in front of scorers that have a ``fingerprint``: of whatever their scores depend on but the input.

    One whose ``pairwise`` is true scores each passage for itself: then each score is kept, and only passages that
    are new to a query are scored. Any other's scores are kept for the request as a whole.
    """

    def __init__(self, cache: Cache | None, ttl_s: float) -> None:
        self.cache = cache
        self.ttl_s = ttl_s

    async def get(
        self,
        scorer: Scorer,
        query: str,
        candidates: Sequence[Candidate],
        statistics: Statistics | None,
        score: Score,
    ) -> list[float]:
        """One score a candidate; ``score`` makes those that are not kept."""
        fingerprint = getattr(scorer, "fingerprint", "")
        if self.cache is None or not fingerprint or not candidates:
            return await score(candidates)
        if getattr(scorer, "pairwise", False):
            return await self.by_pair(self.cache, pair_keys(fingerprint, query, candidates), candidates, score)
        key = request_key(fingerprint, query, candidates, statistics)
        [kept] = await self.cache.get_many([key])
        if kept is not None and len(kept) == len(candidates) * SCORE.itemsize:
            values: list[float] = np.frombuffer(kept, SCORE).tolist()
            return values
        scores = await score(candidates)
        await self.cache.set_many({key: np.asarray(scores, SCORE).tobytes()}, self.ttl_s)
        return scores

    async def by_pair(
        self, cache: Cache, keys: Sequence[str], candidates: Sequence[Candidate], score: Score
    ) -> list[float]:
        """The scores of pairs, one read for all that are kept and one scoring of the others."""
        kept = await cache.get_many(keys)
        scores = {
            key: float(np.frombuffer(value, SCORE)[0])
            for key, value in zip(keys, kept, strict=True)
            if value is not None and len(value) == SCORE.itemsize
        }
        missing = {key: each for key, each in zip(keys, candidates, strict=True) if key not in scores}
        if missing:
            made = dict(zip(missing, await score(list(missing.values())), strict=True))
            await cache.set_many({key: np.asarray(one, SCORE).tobytes() for key, one in made.items()}, self.ttl_s)
            scores |= made
        return [scores[key] for key in keys]


def pair_keys(fingerprint: str, query: str, candidates: Sequence[Candidate]) -> list[str]:
    """The name of each pair's score; the first stage's scores play no part."""
    common = hashlib.sha256(orjson.dumps([fingerprint, len(query)]))
    common.update(query.encode("utf-8", "surrogatepass"))
    keys = []
    for candidate in candidates:
        one = common.copy()
        one.update(candidate.text.encode("utf-8", "surrogatepass"))
        keys.append(PREFIX + one.hexdigest())
    return keys


def request_key(
    fingerprint: str, query: str, candidates: Sequence[Candidate], statistics: Statistics | None
) -> str:
    """The name of a request's scores: all that they depend on, which spans are no part of."""
    counts = statistics and [
        statistics.passages,
        sorted(statistics.frequencies.items()),
        statistics.fingerprint,
    ]
    first = [[each.dense_score, each.sparse_score, each.fused, len(each.text)] for each in candidates]
    digest = hashlib.sha256(orjson.dumps([fingerprint, len(query), counts, first]))
    digest.update("".join((query, *(each.text for each in candidates))).encode("utf-8", "surrogatepass"))
    return PREFIX + digest.hexdigest()
