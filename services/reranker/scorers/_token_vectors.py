"""Token vectors of queries (float) and passages (a few bits a dimension): from the cache, or else encoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import structlog
from cachetools import TTLCache

from ragline import token_vectors
from ragline.batching import Batcher
from ragline.encoder import Encoder, Tokens
from ragline.token_vectors import PackedTokens, QueryTokens
from services.reranker.scorers import Parts
from services.reranker.scorers._lately import Lately

MB = 1024 * 1024
ENTRY_BYTES = 700  # of objects about a passage's codes: views, key, places in dictionaries
QUERY_LANE, PASSAGE_LANE = 0, 1  # a query whose passages are all kept never waits for another's passages
AT_ONCE = 64  # passages that are encoded, and then kept, in one go

R = TypeVar("R")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A text to encode, and whether it is a passage, to be packed."""

    tokens: Tokens
    packed: bool


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long what was encoded is kept: passages in the service's cache, queries in this process.

    Passages are in this process, too, up to ``lately_s`` after their last use: a purge does not reach them here.
    """

    passages: bool = True
    passage_ttl_s: float = 86_400.0
    queries_mb: int = 32
    query_ttl_s: float = 300.0
    lately_mb: int = 64
    lately_s: float = 30.0


class TokenVectors:
    """Encodes with one encoder; ``encoded`` counts the passages, ``asked`` the queries found nowhere."""

    def __init__(self, encoder: Encoder, parts: Parts, keeping: Keeping) -> None:
        self.encoder = encoder
        self.layout = parts.layout.of(encoder.width)
        self.cache = parts.cache
        self.pool = parts.pool
        self.keeping = keeping
        self.encoded = self.asked = 0
        self.queries: TTLCache[str, QueryTokens] = TTLCache(
            keeping.queries_mb * MB, keeping.query_ttl_s, getsizeof=lambda query: query.vectors.nbytes + 1
        )
        self.lately: Lately[PackedTokens] = Lately(
            keeping.lately_mb * MB if keeping.passages else 0, keeping.lately_s
        )
        self.batcher: Batcher[Job, npt.NDArray[np.float32] | bytes] = Batcher(
            self.run,
            size=lambda job: len(job.tokens),
            max_batch=parts.max_batch_tokens,
            max_queue=parts.max_queue_tokens,
            name="late_interaction",
        )

    def run(self, jobs: Sequence[Job]) -> list[npt.NDArray[np.float32] | bytes]:
        """Encode a batch: float32 (pieces, dimensions), or packed, a job."""
        vectors = self.encoder.encode([job.tokens for job in jobs], token_vectors=True).token_vectors or []
        # Copied, because each is a view into the padded batch, which would stay as long as one of them.
        return [
            token_vectors.pack(job.tokens, rows, self.layout) if job.packed else rows.copy()
            for job, rows in zip(jobs, vectors, strict=True)
        ]

    async def close(self) -> None:
        """Fail what waits, end the worker and forget what is held here."""
        await self.batcher.close()
        self.lately.close()

    async def both(self, query: str, texts: Sequence[str]) -> tuple[QueryTokens, list[PackedTokens]]:
        """The query's and the passages' token vectors: one read of the cache, then what it lacks side by side."""
        fingerprint = self.encoder.fingerprint
        keys = {text: token_vectors.key(fingerprint, text) for text in dict.fromkeys(texts)}
        known = {text: self.lately.get(key) for text, key in keys.items()}
        unknown = {text: keys[text] for text, packed in known.items() if packed is None}
        asked = self.queries.get(query)
        first = [] if asked is not None else [token_vectors.query_key(fingerprint, query)]
        values = await self.fetch([*first, *unknown.values()])
        if first and (found := self.read(token_vectors.unpack_query, values[0])) is not None:
            asked = self.remember(query, found)
        for (text, key), value in zip(unknown.items(), values[len(first) :], strict=True):
            if (packed := self.read(self.unpack, value)) is not None:
                known[text] = self.kept(key, packed)
        missing = {text: keys[text] for text, packed in known.items() if packed is None}
        if asked is not None:
            new = await self.encode(missing)
        else:
            side_by_side = await asyncio.gather(self.query(query), self.encode(missing))
            asked, new = side_by_side[0], side_by_side[1]
        passages = {text: packed for text, packed in known.items() if packed is not None} | new
        return asked, [passages[text] for text in texts]

    async def fetch(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """What the cache has."""
        return await self.cache.get_many(keys) if keys and self.keeping.passages else [None] * len(keys)

    def kept(self, key: str, packed: PackedTokens) -> PackedTokens:
        """The passage, which is kept in this process for a moment."""
        self.lately.put(key, packed, packed.codes.nbytes + ENTRY_BYTES)
        return packed

    def unpack(self, value: bytes) -> PackedTokens:
        """A kept passage; ValueError for one that was kept in another layout."""
        packed = token_vectors.unpack(value)
        if packed.layout != self.layout:
            raise ValueError(f"packed token vectors are of {packed.layout}, not {self.layout}")
        return packed

    def read(self, unpack: Callable[[bytes], R], value: bytes | None) -> R | None:
        """A kept value; None for a miss, and for one that this version or these settings did not write."""
        if value is None:
            return None
        try:
            return unpack(value)
        except ValueError as error:
            log.warning("kept token vectors are no good, encoding again", error=str(error))
            return None

    async def query(self, text: str) -> QueryTokens:
        """Encode a query."""
        self.asked += 1
        [tokens] = await self.pool.run(self.encoder.tokenize, [text])
        rows = np.asarray(await self.batcher.submit(Job(tokens, packed=False), QUERY_LANE))
        return self.remember(text, token_vectors.query_tokens(tokens, rows))

    def remember(self, text: str, query: QueryTokens) -> QueryTokens:
        """The query with the dimensions that passages have; kept in this process."""
        query = token_vectors.projected(query, self.layout.dimensions)
        if query.vectors.nbytes < self.queries.maxsize:
            self.queries[text] = query
        return query

    async def encode(self, keys: Mapping[str, str]) -> dict[str, PackedTokens]:
        """Encode the texts that are the keys' keys, and keep the results.

        Some at a time, of like length: where the caller's time is over before all are done, the next try finds
        those that are, and so comes to an end.
        """
        if not keys:
            return {}
        texts = list(keys)
        tokens = await self.pool.run(self.encoder.tokenize, texts)
        jobs = sorted(zip(texts, tokens, strict=True), key=lambda pair: len(pair[1]))
        found: dict[str, PackedTokens] = {}
        for start in range(0, len(jobs), AT_ONCE):
            found |= await self.encode_some(keys, jobs[start : start + AT_ONCE])
        return found

    async def encode_some(
        self, keys: Mapping[str, str], texts: Sequence[tuple[str, Tokens]]
    ) -> dict[str, PackedTokens]:
        """Encode texts in one go, and keep the results under ``keys``."""
        jobs = [Job(tokens, packed=True) for _, tokens in texts]
        results = await self.batcher.submit_many(jobs, PASSAGE_LANE)
        packed = {text: bytes(result) for (text, _), result in zip(texts, results, strict=True)}
        self.encoded += len(packed)
        if self.keeping.passages:
            # For a time only: a passage's entries are purged with its document, which may be gone by now.
            items = {keys[text]: value for text, value in packed.items()}
            await self.cache.set_many(items, self.keeping.passage_ttl_s)
        return {text: self.kept(keys[text], token_vectors.unpack(value)) for text, value in packed.items()}

    async def offsets(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """For each text the [start, end) of the word pieces that its packed token vectors stand for."""
        tokens = await self.pool.run(self.encoder.tokenize, texts)
        return [each.offsets[token_vectors.kept(each)] for each in tokens]
