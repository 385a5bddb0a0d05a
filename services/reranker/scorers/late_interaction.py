"""Late interaction over the embedder's own token vectors: the default scorer, milliseconds where they were kept.

IDF-weighted MaxSim (Khattab and Zaharia, "ColBERT", SIGIR 2020, with an encoder not trained for it), passages at
a few bits a dimension, and the first stage's scores, the dense more where the query's words tell little apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
import structlog
from pydantic import Field

from ragline.encoder import Encoder
from ragline.errors import Unavailable
from ragline.token_vectors import PackedTokens, QueryTokens
from services.reranker.scorers import Candidate, Match, Parts, Statistics
from services.reranker.scorers import _recipe as recipe
from services.reranker.scorers import _spans as spans
from services.reranker.scorers._calibration import Logistic
from services.reranker.scorers._maxsim import similarities
from services.reranker.scorers._token_vectors import Keeping, TokenVectors

RECIPE = 3  # raise this when the same input gets other scores than before
PLACES_MB = 16  # of memory for where words stand in passages that were asked about lately
# Scored on the event loop, which takes two milliseconds at most. A thread would have to win back Python's lock
# after each step, from a loop that is busy: with 16 clients that cost half as much again as all the rest.
AT_ONCE_TOKENS = 16_384
MAX_STRANGE = 100  # embedders that a warning is given for
Fraction = Annotated[float, Field(ge=0, le=1)]
Megabytes = Annotated[int, Field(ge=0)]

log = structlog.get_logger(__name__)


def load(
    parts: Parts,
    *,
    model: str = "all-MiniLM-L6-v2",
    max_tokens: int | None = None,
    hybrid: Fraction = 0.1,
    keep: bool = True,
    query_cache_mb: Megabytes = 32,
    passage_cache_mb: Megabytes = 64,
) -> LateInteraction:
    """The scorer over ``model``: the embedder's, with its ``max_tokens``, finds what the embedder kept.

    ``hybrid`` is the weight of the first stage's scores (0: MaxSim alone). ``keep`` reads
    token vectors of passages from the cache and puts there, for a day, those it lacks. ``query_cache_mb`` bounds
    the memory for queries asked lately, ``passage_cache_mb`` that for passages of the last half minute. Raises
    SettingsError for a model that cannot be had or built.
    """
    encoder = Encoder.open(parts.model(model), threads=parts.threads, max_tokens=max_tokens)
    keeping = Keeping(keep, queries_mb=query_cache_mb, lately_mb=passage_cache_mb)
    return LateInteraction(TokenVectors(encoder, parts, keeping), parts, hybrid)


class LateInteraction:
    """Scores are weighted mean cosines, from -1 to 1, less what the first stage holds against a passage."""

    name = "late_interaction"
    calibration = Logistic(slope=24.4, middle=0.535)  # docs/decisions/0025

    def __init__(self, vectors: TokenVectors, parts: Parts, hybrid: float) -> None:
        self.fingerprint = f"late_interaction {RECIPE} {vectors.encoder.fingerprint} {vectors.layout} {hybrid}"
        self.vectors = vectors
        self.places = spans.Places(vectors, PLACES_MB)
        self.pool = parts.pool
        self.hybrid = hybrid
        self.strange: set[str] = set()

    async def start(self) -> None:
        """Begin to encode."""
        self.vectors.batcher.start()

    async def check(self) -> None:
        """Raise Unavailable once nothing can be encoded any more."""
        if not self.vectors.batcher.healthy:
            raise Unavailable("The worker of the late_interaction scorer does not run; restart the reranker.")

    async def close(self) -> None:
        """Fail what waits and end the worker."""
        await self.vectors.close()

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """One score a passage; the first stage's scores are used where the candidates have them."""
        if not passages:
            return []
        asked, kept = await self.vectors.both(query, [passage.text for passage in passages])
        own = self.own(statistics)
        if sum(map(len, kept)) <= AT_ONCE_TOKENS:
            scores = combined(asked, kept, passages, own, self.hybrid)
        else:
            scores = await self.pool.run(combined, asked, kept, passages, own, self.hybrid)
        return [float(score) for score in scores]

    def own(self, statistics: Statistics | None) -> Statistics | None:
        """The statistics, unless they count another encoder's word pieces: those would be about other words."""
        if statistics is None or statistics.fingerprint in {"", self.vectors.encoder.fingerprint}:
            return statistics
        if statistics.fingerprint not in self.strange and len(self.strange) < MAX_STRANGE:
            self.strange.add(statistics.fingerprint)
            log.warning(
                "frequencies of another embedder's word pieces are left out: all words weigh the same",
                embedder=statistics.fingerprint,
                scorer=self.vectors.encoder.fingerprint,
            )
        return None

    async def spans(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> list[list[float]]:
        """MaxSim of each span of each passage, by the tokens that stand in it; the passages alone are encoded.

        A span that the model did not read, because the passage is longer than its limit, is scored by itself.
        """
        texts = [passage.text for passage in passages]
        if not texts:
            return []
        asked, kept = await self.vectors.both(query, texts)
        weight = recipe.weights(rarity(asked, self.own(statistics)), asked.words)
        places = await self.places.of(texts)
        cut = spans.cut(kept, places, passages)
        if unread := spans.unread(cut, places, passages):
            _, alone = await self.vectors.both(query, list(unread.values()))
            for (passage, span), packed in zip(unread, alone, strict=True):
                cut[passage][span] = packed
        return await self.pool.run(spans.scores, asked, weight, cut)

    async def explain(self, query: str, passages: Sequence[str]) -> Sequence[Sequence[Match]]:
        """The piece of each passage that is most like each word of the query; no passage is encoded for it."""
        if not passages:
            return []
        asked, kept = await self.vectors.both(query, passages)
        offsets = await self.places.of(passages)
        return await self.pool.run(
            lambda: [matches(asked, packed, places) for packed, places in zip(kept, offsets, strict=True)]
        )


def combined(
    query: QueryTokens,
    kept: Sequence[PackedTokens],
    passages: Sequence[Candidate],
    statistics: Statistics | None,
    hybrid: float,
) -> npt.NDArray[np.float32]:
    """The recipe: MaxSim with weighted query tokens, and a share of the first stage's scores."""
    weight = recipe.weights(rarity(query, statistics), query.words)
    scores = recipe.maxsim(query.vectors, weight, kept)
    dense, sparse = [p.dense_score for p in passages], [p.sparse_score for p in passages]
    first = recipe.first_stage(dense, sparse, [p.fused for p in passages], len(query.ids))
    return scores + np.float32(hybrid) * first


def rarity(query: QueryTokens, statistics: Statistics | None) -> npt.NDArray[np.float32] | None:
    """How rare each word piece of the query is; None where nothing is known of the collection."""
    return recipe.idf(query.ids.tolist(), statistics.passages, statistics.frequencies) if statistics else None


def matches(query: QueryTokens, packed: PackedTokens, offsets: npt.NDArray[np.int32]) -> list[Match]:
    """One match a word piece of the query that is a word; none in a passage without text."""
    words = np.flatnonzero(query.words)
    if not len(words) or not len(packed) or not offsets.any():
        return []
    similar = similarities(query.vectors[words], packed)
    places = similar.argmax(axis=1)
    return [
        Match(
            start=int(offsets[place, 0]),
            end=int(offsets[place, 1]),
            query_start=int(query.offsets[word, 0]),
            query_end=int(query.offsets[word, 1]),
            similarity=float(similar[row, place]),
        )
        for row, (word, place) in enumerate(zip(words, places, strict=True))
    ]
