"""Search against a real embedder and a real reranker over gRPC, with and without them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from ragline import context
from ragline.errors import Mismatch, NotFound, Overloaded, TimedOut, Unavailable
from services.retriever import filters
from services.retriever.asking import Request, Response
from services.retriever.search import Search
from services.retriever.stores import Key
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import EMBEDDER, Make
from tests.retriever.library import LIBRARY, fill
from tests.retriever.parts import KEY, content
from tests.suite import free_ports

QUESTION = "How is a lost message retried?"


def texts(found: Response, n: int = 0) -> list[str]:
    return [hit.passage.text for hit in found.results[n].hits]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
async def test_each_mode_finds_the_answer(store: EmbeddedStore, make: Make, mode: str, fusion: str) -> None:
    await fill(store)
    found = await make(fusion=fusion)(Request(KEY, [QUESTION], 3, mode))
    assert texts(found)[0] == LIBRARY["queues"][0]
    assert found.generation == 4
    assert found.degraded == []
    stages = {"embed", "dense"} if mode != "sparse" else set()
    stages |= {"sparse"} if mode != "dense" else set()
    assert set(found.timings_ms) == {"fuse", "fetch", "total", *stages}
    scores = [hit.score for hit in found.results[0].hits]
    assert scores == sorted(scores, reverse=True)


async def test_hits_carry_what_each_side_said(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    found = await search(Request(KEY, ["ferry tickets"], 10))
    query = EMBEDDER.embed(["ferry tickets"]).vectors[0]
    titles = [hit.passage.title for hit in found.results[0].hits]
    expected = EMBEDDER.embed(
        [f"{title}\n{text}" for title, text in zip(titles, texts(found), strict=True)]
    ).vectors
    for hit, vector in zip(found.results[0].hits, expected, strict=True):
        assert hit.fused.dense_score == pytest.approx(float(vector @ query), abs=1e-5)
        assert (hit.fused.sparse_rank is None) == (hit.fused.sparse_score is None)
    assert [hit.fused.sparse_rank for hit in found.results[0].hits][:2] == [1, 2]


async def test_a_sparse_only_hit_gets_its_exact_cosine(store: EmbeddedStore, make: Make) -> None:
    await fill(store)
    search = make(candidates=1)
    found = await search(Request(KEY, ["dough ferry message office wall"], 1))
    everything = await make()(Request(KEY, ["dough ferry message office wall"], 10, "dense"))
    cosines = {hit.passage.id: hit.score for hit in everything.results[0].hits}
    for hit in found.results[0].hits:
        assert hit.fused.dense_score == pytest.approx(cosines[hit.passage.id], abs=1e-6)


async def test_statistics_count_live_passages_by_word_piece(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    await store.delete(KEY, "kitchen")
    found = await search(Request(KEY, ["ferry message baked"], 1))
    statistics = found.results[0].statistics
    assert statistics is not None
    pieces = {word: int(EMBEDDER.embed([word]).token_ids[0][0]) for word in ("ferry", "message", "baked")}
    counts = dict(zip(statistics.token_ids, statistics.passage_frequencies, strict=True))
    assert statistics.passages == 5
    assert counts == {pieces["ferry"]: 2, pieces["message"]: 2, pieces["baked"]: 0}


async def test_many_queries_come_back_in_order_equal_ones_once(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    asked = [QUESTION, "ferry", QUESTION, "tomatoes", *(f"message number{n}" for n in range(90)), "ferry"]
    found = await search(Request(KEY, asked, 2))
    assert len(found.results) == len(asked)
    assert found.results[0] is found.results[2]
    assert texts(found, 1) == texts(found, len(asked) - 1)
    for n in (0, 1, 3, 50):
        alone = await search(Request(KEY, [asked[n]], 2))
        assert texts(found, n) == texts(alone)


async def test_filters_narrow_every_mode(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    for mode in ("hybrid", "dense", "sparse"):
        narrowed = filters.checked({"n": {"$gte": 1}, "lang": "en"})
        found = await search(Request(KEY, ["message ferry"], 10, mode, narrowed))
        assert {hit.passage.document_id for hit in found.results[0].hits} <= {"harbour", "kitchen", "garden"}
        assert found.results[0].hits
        assert "filter" in found.timings_ms


async def test_reranking_orders_by_the_rerankers_scores(store: EmbeddedStore, make: Make) -> None:
    await fill(store)
    search = make(rerank_pool=4)
    plain = await search(Request(KEY, ["harbour office tickets"], 2))
    found = await search(Request(KEY, ["harbour office tickets"], 2, rerank=True))
    hits = found.results[0].hits
    assert len(hits) == 2
    assert hits[0].passage.text == LIBRARY["harbour"][1]
    assert [hit.reranked.score for hit in hits if hit.reranked] == [hit.score for hit in hits]
    assert found.degraded == []
    assert "rerank" in found.timings_ms
    assert all(hit.reranked is None for hit in plain.results[0].hits)


async def test_without_a_reranker_the_fused_order_stands(store: EmbeddedStore, make: Make) -> None:
    await fill(store)
    search = make(scorer=f"127.0.0.1:{free_ports(1)[0]}")
    found = await search(Request(KEY, [QUESTION, "ferry"], 2, rerank=True))
    plain = await search(Request(KEY, [QUESTION, "ferry"], 2))
    assert found.degraded == ["rerank"]
    assert [texts(found, n) for n in (0, 1)] == [texts(plain, n) for n in (0, 1)]


async def test_without_an_embedder_words_are_searched(store: EmbeddedStore, make: Make) -> None:
    await fill(store)
    search = make(embedder=f"127.0.0.1:{free_ports(1)[0]}")
    found = await search(Request(KEY, [QUESTION], 3))
    assert found.degraded == ["dense"]
    assert texts(found)[0] == LIBRARY["queues"][0]
    assert found.results[0].statistics is None
    assert found.results[0].hits[0].fused.dense_score is None
    with pytest.raises(Unavailable):
        await search(Request(KEY, [QUESTION], 3, "dense"))


async def test_without_a_sparse_index_vectors_are_searched(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    held = store.held[KEY]
    held.publish(held.current.next(searcher=None))
    found = await search(Request(KEY, [QUESTION], 3))
    assert found.degraded == ["sparse"]
    assert texts(found)[0] == LIBRARY["queues"][0]
    with pytest.raises(Unavailable, match="sparse"):
        await search(Request(KEY, [QUESTION], 3, "sparse"))


async def test_with_neither_it_says_so(store: EmbeddedStore, make: Make) -> None:
    await fill(store)
    held = store.held[KEY]
    held.publish(held.current.next(searcher=None))
    with pytest.raises(Unavailable, match="Neither"):
        await make(embedder=f"127.0.0.1:{free_ports(1)[0]}")(Request(KEY, [QUESTION], 3))


async def test_another_embedders_collection_is_refused_with_the_way_out(
    store: EmbeddedStore, search: Search
) -> None:
    await store.upsert(KEY, content("a", ["passage one"]))
    with pytest.raises(Mismatch, match=r"words-16.*hashing-1-64.*mode sparse"):
        await search(Request(KEY, ["passage"], 3))
    found = await search(Request(KEY, ["passage"], 3, "sparse"))
    assert texts(found) == ["passage one"]


async def test_an_empty_collection_answers_without_an_embedder(store: EmbeddedStore, make: Make) -> None:
    search = make(embedder=f"127.0.0.1:{free_ports(1)[0]}")
    found = await search(Request(KEY, ["a", "b"], 3))
    assert ([len(result.hits) for result in found.results], found.generation, found.degraded) == ([0, 0], 0, [])
    with pytest.raises(NotFound, match="default"):
        await search(Request(Key("default", "nowhere"), ["a"], 3))


async def test_queries_in_hand_are_bounded(store: EmbeddedStore, make: Make) -> None:
    await fill(store)
    search = make(max_inflight_queries=4)
    first = asyncio.create_task(search(Request(KEY, [f"query {n}" for n in range(4)], 1)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="RETRIEVER_MAX_INFLIGHT_QUERIES"):
        await search(Request(KEY, ["one more"], 1))
    assert len((await first).results) == 4
    assert len((await search(Request(KEY, ["one more"], 1))).results) == 1


async def test_a_passed_deadline_ends_the_search(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    with context.bind("late", 1e-9), pytest.raises(TimedOut):
        await search(Request(KEY, [QUESTION], 3, "sparse"))


async def test_a_caller_who_leaves_frees_the_place(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    task = asyncio.create_task(search(Request(KEY, [QUESTION] * 50, 1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert search.inflight == 0
    assert texts(await search(Request(KEY, [QUESTION], 1))) == [LIBRARY["queues"][0]]


async def test_concurrent_searches_get_their_own_answers(store: EmbeddedStore, search: Search) -> None:
    await fill(store)
    asked = [QUESTION, "ferry harbour", "bread dough", "tomatoes sun"] * 12
    found = await asyncio.gather(*(search(Request(KEY, [query], 1, "dense")) for query in asked))
    expected = {query: texts(await search(Request(KEY, [query], 1, "dense"))) for query in set(asked)}
    assert [texts(each) for each in found] == [expected[query] for query in asked]


@pytest.mark.models
async def test_with_the_shipped_embedder(
    tmp_path: Path, minilm: Path, search: Search, store: EmbeddedStore
) -> None:
    from ragline.encoder import Encoder

    encoder = Encoder.open(minilm, threads=2)
    passages = [text for texts in LIBRARY.values() for text in texts]
    vectors = encoder.encode(encoder.tokenize(passages)).vectors
    made = content("all", passages, fingerprint=encoder.fingerprint, dimensions=encoder.dimensions)
    made.vectors[:] = vectors
    await store.upsert(KEY, made)
    query = encoder.encode(encoder.tokenize(["What happens to mail that gets lost?"])).vectors
    ranking = store.view(KEY).dense(np.asarray(query), 1, None)[0]
    (passage,) = store.view(KEY).fetch(ranking.rows.tolist()).values()
    assert passage.text in LIBRARY["queues"]
