"""Embeds texts for every door: what is cached is read, the rest joins the batch of whoever else is asking."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ragline import token_vectors as kept
from ragline.batching import Batcher
from ragline.cache import Cache
from ragline.encoder import Tokens
from ragline.errors import Unavailable
from ragline.token_vectors import Layout
from services.preprocess.embedders import Embedder
from services.preprocess.vector_rows import Row, pack_row, unpack_row

T = TypeVar("T")
Pack = Callable[[Tokens, NDArray[np.float32]], bytes]

QUERY, PASSAGE = 0, 1
"""Lanes: a query goes ahead of passages."""

INLINE_CHARS = 4096
"""Up to this much text is hashed and counted on the event loop, which costs less than the way to a thread."""
MAX_WRITES = 64


@dataclass(frozen=True)
class Embeddings:
    """What n texts were embedded into; columns as in ``embedders.Embedded``. ``fresh`` were not in the cache."""

    vectors: NDArray[np.float32]
    tokens: list[int]
    token_ids: list[NDArray[np.uint32]]
    truncated: list[bool]
    model: str
    fingerprint: str
    dimensions: int
    fresh: int = 0


@dataclass(frozen=True)
class Item:
    """A text in the batcher; ``size`` in word pieces. ``pack`` makes an entry of its token vectors, if wanted."""

    text: str
    size: int
    pack: Pack | None


class Embedding:
    """The use case behind REST, gRPC and ingest.

    Vectors are cached by the embedder's fingerprint and the text's hash, so they are never stale: those of
    passages until room is needed or they are purged, all others for ``query_ttl_s`` seconds. Passages' token
    vectors are kept in ``layout``, queries' whole. A batch holds
    up to ``max_batch_tokens`` padded word pieces, the queue up to ``max_queue_tokens``.
    """

    def __init__(
        self,
        embedder: Embedder,
        cache: Cache,
        *,
        max_batch_tokens: int = 1024,
        max_queue_tokens: int = 524_288,
        query_ttl_s: float = 600.0,
        layout: Layout | None = None,
        name: str = "embedder",
    ) -> None:
        self.layout = layout or Layout()
        self.embedder, self.cache, self.query_ttl_s = embedder, cache, query_ttl_s
        self.writes: set[asyncio.Task[None]] = set()
        self.batcher: Batcher[Item, Row] = Batcher(
            self.run, size=tokens_of, max_batch=max_batch_tokens, max_queue=max_queue_tokens, name=name
        )

    async def start(self) -> None:
        """Take work, once the longest text has been embedded: memory is claimed now, not by a caller."""
        long = "warm " * self.embedder.max_tokens
        await asyncio.to_thread(self.embedder.embed, [long], token_vectors=True)
        self.batcher.start()

    async def close(self) -> None:
        """Let the batch in hand finish and end; the cache stays open, as it came from outside."""
        await self.batcher.close()
        await asyncio.gather(*self.writes)

    @property
    def healthy(self) -> bool:
        """Whether work is taken and done."""
        return self.batcher.healthy

    async def ready(self) -> None:
        """Raise Unavailable unless work is taken and done."""
        if not self.healthy:
            raise Unavailable("The embedder is not running; it is starting, stopping or has died.")

    async def embed(
        self, texts: Sequence[str], *, lane: int, token_vectors: bool = False, lasting: bool | None = None
    ) -> Embeddings:
        """Embed the texts, in order; equal ones once.

        With ``token_vectors`` those of what is embedded now are put in the cache for the reranker, as it wants
        them of queries or of passages, by the lane.
        ``lasting`` vectors stay in the cache; unless told, those of the passage lane do. Raises Overloaded
        when the queue is full and Unavailable when the embedder has stopped.
        """
        lasting = lane == PASSAGE if lasting is None else lasting
        distinct = list(dict.fromkeys(texts))
        keys = await light(distinct, self.keys)
        known = await self.cache.get_many(keys)
        width = self.embedder.dimensions
        rows: list[Row | None] = [unpack_row(value, width) if value else None for value in known]
        missing = [at for at, row in enumerate(rows) if row is None]
        if missing:
            pack = (self.pack_query if lane == QUERY else self.pack_passage) if token_vectors else None
            fresh = await self.compute([distinct[at] for at in missing], lane, pack)
            for at, new in zip(missing, fresh, strict=True):
                rows[at] = new
            entries = {keys[at]: pack_row(row) for at, row in zip(missing, fresh, strict=True)}
            entries |= self.token_entries([distinct[at] for at in missing], fresh, lane)
            await self.keep(entries, lasting=lasting)
        by_text = dict(zip(distinct, rows, strict=True))
        return self.gather([row for text in texts if (row := by_text[text])], len(missing))

    async def compute(self, texts: Sequence[str], lane: int, pack: Pack | None) -> list[Row]:
        """The rows of texts that are not cached."""
        counts = await light(texts, self.embedder.count_tokens)
        most = self.embedder.max_tokens
        items = [Item(text, min(count + 2, most), pack) for text, count in zip(texts, counts, strict=True)]
        return await self.batcher.submit_many(items, lane)

    def run(self, items: Sequence[Item]) -> list[Row]:
        """One batch, in the batcher's thread."""
        wanted = any(item.pack for item in items)
        result = self.embedder.embed([item.text for item in items], token_vectors=wanted)
        found = result.token_vectors
        packed = [item.pack(*found[at]) if item.pack and found else None for at, item in enumerate(items)]
        columns = zip(result.vectors, result.tokens, result.token_ids, result.truncated, packed, strict=True)
        return [Row(*column) for column in columns]

    def pack_passage(self, tokens: Tokens, vectors: NDArray[np.float32]) -> bytes:
        """The entry of a passage's token vectors."""
        return kept.pack(tokens, vectors, self.layout)

    def pack_query(self, tokens: Tokens, vectors: NDArray[np.float32]) -> bytes:
        """The entry of a query's token vectors."""
        return kept.pack_query(kept.query_tokens(tokens, vectors))

    def token_entries(self, texts: Sequence[str], rows: Sequence[Row], lane: int) -> dict[str, bytes]:
        """What the cache is to hold of new rows' token vectors."""
        name = kept.query_key if lane == QUERY else kept.key
        return {
            name(self.embedder.fingerprint, text): row.packed
            for text, row in zip(texts, rows, strict=True)
            if row.packed is not None
        }

    async def keep(self, entries: dict[str, bytes], *, lasting: bool) -> None:
        """Cache entries. Lasting ones are waited for; others are not, and in a rush are dropped."""
        if lasting:
            await self.cache.set_many(entries)
        elif len(self.writes) < MAX_WRITES:
            task = asyncio.create_task(self.cache.set_many(entries, self.query_ttl_s))
            self.writes.add(task)
            task.add_done_callback(self.writes.discard)

    async def purge(self, texts: Sequence[str]) -> None:
        """Forget the vectors and token vectors of texts, as of a deleted document."""
        await self.purge_of(self.embedder.fingerprint, texts)

    async def purge_of(self, fingerprint: str, texts: Sequence[str]) -> None:
        """Forget what an embedder made of texts, also of one that is not loaded any more."""
        token_keys = [kept.key(fingerprint, text) for text in texts]
        await self.cache.delete_many([*keys_of(fingerprint, texts), *token_keys])

    async def keeps(self, texts: Sequence[str]) -> bool:
        """Whether the cache holds the vectors of all these texts now."""
        return None not in await self.cache.get_many(self.keys(texts))

    def keys(self, texts: Sequence[str]) -> list[str]:
        """The cache keys of the texts' vectors."""
        return keys_of(self.embedder.fingerprint, texts)

    def gather(self, rows: Sequence[Row], fresh: int) -> Embeddings:
        """Rows as columns."""
        width = self.embedder.dimensions
        vectors = np.stack([row.vector for row in rows]) if rows else np.zeros((0, width), np.float32)
        return Embeddings(
            vectors=vectors,
            tokens=[row.tokens for row in rows],
            token_ids=[row.token_ids for row in rows],
            truncated=[row.truncated for row in rows],
            model=self.embedder.name,
            fingerprint=self.embedder.fingerprint,
            dimensions=width,
            fresh=fresh,
        )


def keys_of(fingerprint: str, texts: Sequence[str]) -> list[str]:
    """The cache keys of what an embedder makes of texts."""
    return [f"emb:{fingerprint}:{digest(text)}" for text in texts]


def tokens_of(item: Item) -> int:
    """The size of an item."""
    return item.size


def digest(text: str) -> str:
    """The hash that a text is known by; a lone surrogate counts as ``?``, which is how it is read."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


async def light(texts: Sequence[str], work: Callable[[Sequence[str]], T]) -> T:
    """Do the work here where the texts are short, and in a thread where it would hold up other requests."""
    if sum(map(len, texts)) <= INLINE_CHARS:
        return work(texts)
    return await asyncio.to_thread(work, texts)
