"""Embedding: the cache in front, the batcher behind, and what each caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from ragline import cache as caches
from ragline import token_vectors
from ragline.cache import Cache
from ragline.cache.memory import MemoryCache
from ragline.errors import Overloaded, Unavailable
from ragline.models import ModelStore
from ragline.token_vectors import Layout
from services.preprocess.embed import INLINE_CHARS, PASSAGE, QUERY, Embedding
from services.preprocess.embedders import Parts, hashing, onnx
from tests.preprocess.recording import Recording


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    opened = caches.open(f"sqlite://{tmp_path}/cache.db")
    yield opened
    await opened.close()


@pytest.fixture
def embedder() -> Recording:
    return Recording()


@pytest.fixture
async def embedding(embedder: Recording, cache: Cache) -> AsyncIterator[Embedding]:
    made = Embedding(embedder, cache, max_queue_tokens=4096)
    await made.start()
    yield made
    await made.close()


async def queued(embedding: Embedding, tokens: int) -> None:
    """Until so many tokens wait; the count changes with no event to wait on."""
    async with asyncio.timeout(30):
        while embedding.batcher.queued < tokens:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_rows_come_in_the_order_of_the_texts(embedding: Embedding) -> None:
    texts = ["three words here", "", "one", "three words here"]
    result = await embedding.embed(texts, lane=PASSAGE)
    direct = hashing.Hashing(64).embed(texts)
    np.testing.assert_array_equal(result.vectors, direct.vectors)
    assert result.tokens == direct.tokens == [3, 0, 1, 3]
    for mine, theirs in zip(result.token_ids, direct.token_ids, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (result.model, result.fingerprint, result.dimensions) == ("hashing-64", "hashing-1-64", 64)


async def test_no_texts_give_no_rows(embedding: Embedding) -> None:
    result = await embedding.embed([], lane=QUERY)
    assert result.vectors.shape == (0, 64)


async def test_equal_texts_are_embedded_once(embedding: Embedding, embedder: Recording) -> None:
    await embedding.embed(["a", "b", "a", "a"], lane=PASSAGE)
    assert sorted(embedder.texts) == ["a", "b"]


async def test_what_was_embedded_is_read_from_the_cache(embedding: Embedding, embedder: Recording) -> None:
    first = await embedding.embed(["a cat", "a dog"], lane=PASSAGE)
    embedder.batches.clear()
    second = await embedding.embed(["a dog", "a cow", "a cat"], lane=QUERY)
    assert embedder.texts == ["a cow"]
    np.testing.assert_array_equal(second.vectors[[2, 0]], first.vectors)
    assert second.tokens == [2, 2, 2]


async def test_another_embedder_never_reads_these_vectors(embedding: Embedding, cache: Cache) -> None:
    await embedding.embed(["a cat"], lane=PASSAGE)
    other = Embedding(hashing.Hashing(32), cache)
    await other.start()
    assert (await other.embed(["a cat"], lane=PASSAGE)).vectors.shape == (1, 32)
    await other.close()


async def test_a_damaged_entry_is_a_miss(embedding: Embedding, embedder: Recording, cache: Cache) -> None:
    await embedding.embed(["a cat"], lane=PASSAGE)
    await cache.set_many({embedding.keys(["a cat"])[0]: b"\x01damaged"})
    embedder.batches.clear()
    await embedding.embed(["a cat"], lane=PASSAGE)
    assert embedder.texts == ["a cat"]


async def test_purged_texts_are_forgotten(embedding: Embedding, embedder: Recording, cache: Cache) -> None:
    await embedding.embed(["a cat", "a dog"], lane=PASSAGE)
    await cache.set_many({token_vectors.key(embedder.fingerprint, "a cat"): b"kept"})
    await embedding.purge(["a cat"])
    embedder.batches.clear()
    await embedding.embed(["a cat", "a dog"], lane=PASSAGE)
    assert embedder.texts == ["a cat"]
    assert await cache.get_many([token_vectors.key(embedder.fingerprint, "a cat")]) == [None]


async def test_a_query_is_cached_for_its_time_only(embedder: Recording) -> None:
    now = [0.0]
    memory = MemoryCache(1_000_000, clock=lambda: now[0])
    embedding = Embedding(embedder, memory, query_ttl_s=60)
    await embedding.start()
    await embedding.embed(["a passage"], lane=PASSAGE)
    await embedding.embed(["a query"], lane=QUERY)
    await asyncio.gather(*embedding.writes)
    embedder.batches.clear()
    now[0] = 59.0
    await embedding.embed(["a query", "a passage"], lane=QUERY)
    assert embedder.texts == []
    now[0] = 61.0
    await embedding.embed(["a query", "a passage"], lane=QUERY)
    assert embedder.texts == ["a query"]
    await embedding.close()


async def test_a_query_goes_ahead_of_passages(embedding: Embedding, embedder: Recording) -> None:
    embedder.gate.clear()
    embedder.entered.clear()  # the warm-up set it
    first = asyncio.create_task(embedding.embed(["first"], lane=PASSAGE))
    await asyncio.to_thread(embedder.entered.wait)
    long = [f"{n} " + "word " * 600 for n in range(4)]
    passages = asyncio.create_task(embedding.embed(long, lane=PASSAGE))
    query = asyncio.create_task(embedding.embed(["query"], lane=QUERY))
    await queued(embedding, 4 * 600 + 1)
    embedder.gate.set()
    await asyncio.gather(first, passages, query)
    order = embedder.texts
    assert order.index("query") < min(order.index(text) for text in long)


async def test_a_full_queue_refuses_and_says_when_to_come_back(embedding: Embedding, embedder: Recording) -> None:
    embedder.gate.clear()
    embedder.entered.clear()
    first = asyncio.create_task(embedding.embed(["first"], lane=PASSAGE))
    await asyncio.to_thread(embedder.entered.wait)
    waiting = asyncio.create_task(embedding.embed(["word " * 3000], lane=PASSAGE))
    await queued(embedding, 3000)
    with pytest.raises(Overloaded) as refused:
        await embedding.embed(["other " * 3000], lane=PASSAGE)
    assert refused.value.retry_after_s
    embedder.gate.set()
    await asyncio.gather(first, waiting)


async def test_long_texts_are_counted_off_the_event_loop(embedding: Embedding) -> None:
    texts = [f"{n} " + "x" * INLINE_CHARS for n in range(3)]
    assert (await embedding.embed(texts, lane=PASSAGE)).tokens == [2, 2, 2]


async def test_readiness_follows_the_worker(embedder: Recording, cache: Cache) -> None:
    embedding = Embedding(embedder, cache)
    with pytest.raises(Unavailable):
        await embedding.ready()
    await embedding.start()
    await embedding.ready()
    assert embedding.healthy
    await embedding.close()
    with pytest.raises(Unavailable):
        await embedding.ready()
    with pytest.raises(Unavailable):
        await embedding.embed(["a"], lane=QUERY)


@pytest.mark.models
async def test_token_vectors_of_passages_are_kept_for_the_reranker(minilm: Path, cache: Cache) -> None:
    embedder = onnx.load(Parts(ModelStore(minilm.parent), 1), model=str(minilm))
    embedding = Embedding(embedder, cache)
    await embedding.start()
    texts = ["A cat sat on the mat.", "", "Bread is baked."]
    await embedding.embed(texts, lane=PASSAGE, token_vectors=True)
    await embedding.embed(["unwanted"], lane=PASSAGE)

    stored = await cache.get_many([token_vectors.key(embedder.fingerprint, text) for text in [*texts, "unwanted"]])

    found = embedder.embed(texts, token_vectors=True).token_vectors
    assert found is not None
    for mine, (tokens, vectors) in zip(stored[:3], found, strict=True):
        assert mine is not None
        unpacked, expected = token_vectors.unpack(mine), token_vectors.unpack(token_vectors.pack(tokens, vectors))
        assert len(unpacked) == len(expected)
        # A number within 1e-6 of nought may fall on either side of it in another batch.
        assert np.mean(np.unpackbits(unpacked.codes) != np.unpackbits(expected.codes)) < 1e-3
    assert stored[3] is None
    await embedding.close()


@pytest.mark.models
async def test_token_vectors_are_kept_as_the_reranker_wants_them(minilm: Path) -> None:
    now = [0.0]
    memory = MemoryCache(1_000_000, clock=lambda: now[0])
    embedder = onnx.load(Parts(ModelStore(minilm.parent), 1), model=str(minilm))
    embedding = Embedding(embedder, memory, query_ttl_s=60, layout=Layout(4, 96))
    await embedding.start()
    await embedding.embed(["A cat sat."], lane=PASSAGE, token_vectors=True)
    await embedding.embed(["Where sat a cat?"], lane=QUERY, token_vectors=True)
    await embedding.close()  # what is not waited for has been written then
    keys = [token_vectors.key(embedder.fingerprint, "A cat sat.")]
    keys += [token_vectors.query_key(embedder.fingerprint, "Where sat a cat?")]
    passage, query = await memory.get_many(keys)
    assert passage is not None
    assert token_vectors.unpack(passage).layout == Layout(4, 96)
    assert query is not None
    assert token_vectors.unpack_query(query).vectors.shape == (5, 384)
    now[0] = 61
    assert [value is None for value in await memory.get_many(keys)] == [False, True]
