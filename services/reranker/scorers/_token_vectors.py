"""Token vectors of queries (float) and passages (a bit a dimension): from the cache, or else encoded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import structlog
from cachetools import TTLCache

from ragline import token_vectors
from ragline.batching import Batcher
from ragline.encoder import Encoder, Tokens
from ragline.token_vectors import PackedTokens
from services.reranker.scorers import Parts

MB = 1024 * 1024
QUERY_LANE, PASSAGE_LANE = 0, 1  # a query whose passages are all kept never waits for another's passages

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class QueryTokens:
    """A query's word pieces, without special ones: ``vectors`` (n, dimensions) float32 of unit length.

    ``words`` is true for pieces with a letter or digit; ``offsets`` (n, 2) are [start, end) in the query.
    """

    ids: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    words: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Job:
    """A text to encode, and whether only its vectors' signs are wanted."""

    tokens: Tokens
    packed: bool


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long what was encoded is kept: passages in the service's cache, queries in this process."""

    passages: bool = True
    passage_ttl_s: float = 86_400.0
    queries_mb: int = 32
    query_ttl_s: float = 300.0


class TokenVectors:
    """Encodes with one encoder; ``encoded`` counts the passages that were not found in the cache."""

    def __init__(self, encoder: Encoder, parts: Parts, keeping: Keeping) -> None:
        self.encoder = encoder
        self.cache = parts.cache
        self.pool = parts.pool
        self.keeping = keeping
        self.encoded = 0
        self.queries: TTLCache[str, QueryTokens] = TTLCache(
            keeping.queries_mb * MB, keeping.query_ttl_s, getsizeof=lambda query: query.vectors.nbytes + 1
        )
        self.batcher: Batcher[Job, npt.NDArray[np.float32] | bytes] = Batcher(
            self.run,
            size=lambda job: len(job.tokens),
            max_batch=parts.max_batch_tokens,
            max_queue=parts.max_queue_tokens,
            name="late_interaction",
        )

    def run(self, jobs: Sequence[Job]) -> list[npt.NDArray[np.float32] | bytes]:
        """Encode a batch: float32 (pieces, dimensions), or packed signs, a job."""
        vectors = self.encoder.encode([job.tokens for job in jobs], token_vectors=True).token_vectors or []
        # Copied, because each is a view into the padded batch, which would stay as long as one of them.
        return [
            token_vectors.pack(job.tokens, rows) if job.packed else rows.copy()
            for job, rows in zip(jobs, vectors, strict=True)
        ]

    async def query(self, text: str) -> QueryTokens:
        """The query's token vectors; a query asked lately is not encoded again."""
        if (known := self.queries.get(text)) is not None:
            return known
        [tokens] = await self.pool.run(self.encoder.tokenize, [text])
        result = query_tokens(tokens, np.asarray(await self.batcher.submit(Job(tokens, packed=False), QUERY_LANE)))
        if result.vectors.nbytes < self.queries.maxsize:
            self.queries[text] = result
        return result

    async def passages(self, texts: Sequence[str]) -> list[PackedTokens]:
        """The packed token vectors of each text: one read of the cache, then one encoding of what it lacks."""
        distinct = list(dict.fromkeys(texts))
        if not self.keeping.passages:
            found = await self.encode(distinct)
        else:
            keys = {text: token_vectors.key(self.encoder.fingerprint, text) for text in distinct}
            values = await self.cache.get_many(list(keys.values()))
            known = {text: self.read(value) for text, value in zip(distinct, values, strict=True)}
            missing = [text for text, packed in known.items() if packed is None]
            new = await self.encode(missing, keys)
            found = {text: packed for text, packed in known.items() if packed is not None} | new
        return [found[text] for text in texts]

    def read(self, value: bytes | None) -> PackedTokens | None:
        """A kept value; None for a miss, and for one that this version or encoder did not write."""
        if value is None:
            return None
        try:
            return token_vectors.unpack(value)
        except ValueError as error:
            log.warning("kept token vectors are no good, encoding again", error=str(error))
            return None

    async def encode(self, texts: Sequence[str], keys: dict[str, str] | None = None) -> dict[str, PackedTokens]:
        """Encode the texts, and keep the results under ``keys`` where given."""
        if not texts:
            return {}
        tokens = await self.pool.run(self.encoder.tokenize, texts)
        results = await self.batcher.submit_many([Job(each, packed=True) for each in tokens], PASSAGE_LANE)
        packed = {text: bytes(result) for text, result in zip(texts, results, strict=True)}
        self.encoded += len(packed)
        if keys:
            # For a time only: a passage's entries are purged with its document, which may be gone by now.
            items = {keys[text]: value for text, value in packed.items()}
            await self.cache.set_many(items, self.keeping.passage_ttl_s)
        return {text: token_vectors.unpack(value) for text, value in packed.items()}

    async def offsets(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """For each text the [start, end) of the word pieces that its packed token vectors stand for."""
        tokens = await self.pool.run(self.encoder.tokenize, texts)
        return [each.offsets[token_vectors.kept(each)] for each in tokens]

    async def both(self, query: str, texts: Sequence[str]) -> tuple[QueryTokens, list[PackedTokens]]:
        """The query's and the passages' token vectors, fetched side by side."""
        return await asyncio.gather(self.query(query), self.passages(texts))


def query_tokens(tokens: Tokens, vectors: npt.NDArray[np.float32]) -> QueryTokens:
    """What of an encoded query takes part: all but the special word pieces, each vector of unit length."""
    own = ~tokens.special
    rows = vectors[own]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return QueryTokens(tokens.ids[own], unit, tokens.words[own], tokens.offsets[own])
