"""The REST door."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from ragline.http import create_app
from services.retriever import api
from services.retriever.limits import Limits
from services.retriever.search import Search
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.library import LIBRARY, fill


@pytest.fixture
async def client(stack: AsyncExitStack, search: Search) -> httpx.AsyncClient:
    app = create_app("retriever", [api.router(search, Limits(max_queries=5))], checks={})
    opened = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
    return await stack.enter_async_context(opened)


async def ask(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post("/retrieve", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_query(client: httpx.AsyncClient, store: EmbeddedStore) -> None:
    await fill(store)
    answer = await ask(client, query="How is a lost message retried?", top_k=2)
    assert set(answer) == {"passages", "generation", "timings_ms", "degraded"}
    assert len(answer["passages"]) == 2
    first = answer["passages"][0]
    assert first == {
        "id": "queues#0",
        "document_id": "queues",
        "title": "Queues",
        "section": "",
        "text": LIBRARY["queues"][0],
        "score": first["score"],
        "page": 1,
        "start": 0,
        "end": len(LIBRARY["queues"][0]),
        "metadata": {"n": 0, "lang": "en"},
    }
    assert answer["generation"] == 4


async def test_queries(client: httpx.AsyncClient, store: EmbeddedStore) -> None:
    await fill(store)
    answer = await ask(client, queries=["ferry", "tomatoes", "ferry"], top_k=1, mode="sparse")
    assert [result["passages"][0]["document_id"] for result in answer["results"]] == [
        "harbour",
        "garden",
        "harbour",
    ]
    assert all(set(result) == {"passages", "generation", "timings_ms"} for result in answer["results"])
    assert "passages" not in answer


async def test_filter_rerank_and_explain(client: httpx.AsyncClient, store: EmbeddedStore) -> None:
    await fill(store)
    answer = await ask(
        client, query="harbour office", filter={"document_id": ["harbour", "garden"]}, rerank=True, explain=True
    )
    first = answer["passages"][0]
    assert first["text"] == LIBRARY["harbour"][1]
    assert first["explain"]["rerank_score"] == first["score"]
    assert first["explain"]["sparse_rank"] in (1, 2)
    assert {"filter", "embed", "dense", "sparse", "fuse", "fetch", "rerank", "total"} == set(answer["timings_ms"])
    garden = [p for p in answer["passages"] if p["document_id"] == "garden"]
    assert all(p["explain"]["sparse_rank"] is None and p["explain"]["dense_score"] is not None for p in garden)


async def test_nothing_written_yet(client: httpx.AsyncClient) -> None:
    answer = await ask(client, query="anything")
    assert (answer["passages"], answer["generation"]) == ([], 0)


async def test_the_same_route_under_v1(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/retrieve", json={"query": "anything"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "either query or queries"),
        ({"query": "a", "queries": ["b"]}, 400, "either query or queries"),
        ({"query": ""}, 400, "empty"),
        ({"query": "   "}, 400, "empty"),
        ({"query": 5}, 400, "query"),
        ({"query": "x" * 5000}, 413, "RETRIEVER_MAX_QUERY_CHARS"),
        ({"queries": []}, 400, "queries"),
        ({"queries": ["a"] * 6}, 413, "RETRIEVER_MAX_QUERIES"),
        ({"query": "a", "top_k": 0}, 400, "top_k"),
        ({"query": "a", "top_k": 101}, 400, "1 to 100"),
        ({"query": "a", "top_k": "5"}, 400, "top_k"),
        ({"query": "a", "mode": "magic"}, 400, "mode"),
        ({"query": "a", "colection": "b"}, 400, "colection"),
        ({"query": "a", "collection": "nowhere"}, 404, "default"),
        ({"query": "a", "collection": "a/b"}, 400, "collection"),
        ({"query": "a", "filter": {"year": {"$foo": 1}}}, 400, "filter.year.$foo"),
        ({"query": "a", "filter": []}, 400, "filter"),
        ({"query": "a", "filter": {"$and": 5}}, 400, "filter.$and"),
    ],
)
async def test_bad_input_is_a_problem_that_names_it(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, says: str
) -> None:
    response = await client.post("/retrieve", json=body)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == status
    assert says in response.text


@pytest.mark.parametrize("content", [b'{"query": "\\ud800"}', b'{"query": "a', b"\xff\xfe", b"[]"])
async def test_bytes_that_are_no_request(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post("/retrieve", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 415)
    assert response.headers["content-type"] == "application/problem+json"


async def test_strange_characters_are_a_query(client: httpx.AsyncClient, store: EmbeddedStore) -> None:
    await fill(store)
    for query in ("ferry\x00", "\u202eferry", 'ferry" AND (', "фу́ ferry 渡船"):
        answer = await ask(client, query=query, mode="sparse")
        assert answer["passages"][0]["document_id"] == "harbour"


async def test_the_example_in_the_documentation_works(client: httpx.AsyncClient) -> None:
    response = await client.post("/retrieve", json=api.EXAMPLE)
    assert response.status_code == 200
