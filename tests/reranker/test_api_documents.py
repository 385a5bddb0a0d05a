"""Reranking as Cohere's, Jina's and Voyage's clients ask for it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

QUERY = "How is a lost message retried?"
TEXTS = ["The office opens at nine.", "A lost message is retried after a back-off.", "A message."]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
async def test_the_order_is_the_same(client: httpx.AsyncClient, path: str) -> None:
    own = (await client.post(path, json={"query": QUERY, "passages": TEXTS})).json()
    body = (await client.post(path, json={"query": QUERY, "documents": TEXTS})).json()
    assert set(body) == {"id", "model", "results", "meta", "degraded"}
    assert body["model"] == "overlap"
    assert [(each["index"], each["relevance_score"]) for each in body["results"]] == [
        (each["index"], each["score"]) for each in own["results"]
    ]
    assert all(set(each) == {"index", "relevance_score"} for each in body["results"])


@pytest.mark.parametrize(
    "body",
    [
        {"model": "ragline", "top_n": 2, "max_tokens_per_doc": 4096, "priority": 0},  # Cohere v2
        {"model": None, "top_n": 2, "return_documents": False, "max_chunks_per_doc": 10},  # Cohere v1
        {"model": "overlap", "top_k": 2, "truncation": True},  # Voyage
    ],
)
async def test_what_clients_send_is_taken(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS, **body})
    assert answer.status_code == 200, answer.text
    assert [each["index"] for each in answer.json()["results"]] == [1, 2]


async def test_documents_may_be_objects_and_come_back(client: httpx.AsyncClient) -> None:
    documents = [TEXTS[0], {"text": TEXTS[1], "title": "queue"}]
    body = {"model": "bare", "query": QUERY, "documents": documents, "return_documents": True, "top_n": 1}
    answer = (await client.post("/v1/rerank", json=body)).json()
    assert answer["model"] == "bare"
    assert [each["document"] for each in answer["results"]] == [{"text": TEXTS[1]}]


@pytest.mark.parametrize(
    ("body", "status", "field", "says"),
    [
        ({"query": QUERY, "documents": TEXTS, "passages": TEXTS}, 400, "documents", "not both"),
        ({"query": QUERY}, 400, "passages", "passages, or documents"),
        ({"query": QUERY, "documents": []}, 400, "documents", "at least 1"),
        ({"query": QUERY, "documents": [{"txt": "a"}]}, 400, "documents[0]", "valid string"),
        ({"query": QUERY, "documents": [7]}, 400, "documents[0]", "valid"),
        ({"query": "", "documents": TEXTS}, 400, "query", "at least 1"),
        ({"query": QUERY, "documents": TEXTS, "model": "rerank-v3.5"}, 400, "scorer", "overlap"),
        ({"query": QUERY, "documents": TEXTS, "top_n": 0}, 400, "top_n", "greater"),
        ({"query": QUERY, "documents": TEXTS, "rank_fields": ["a"]}, 400, "rank_fields", "not permitted"),
        ({"query": QUERY, "documents": TEXTS * 2}, 413, "passages", "RERANKER_MAX_PASSAGES"),
    ],
)
async def test_bad_input_names_the_field(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, field: str, says: str
) -> None:
    answer = await client.post("/v1/rerank", json=body)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["field"] == field
    assert says in answer.text


async def test_openapi_describes_both_with_examples_that_work(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    for name in ("RerankBody", "DocumentsBody"):
        assert f"#/components/schemas/{name}" in str(schema["paths"]["/rerank"]["post"]["requestBody"])
        for example in schema["components"]["schemas"][name]["examples"]:
            assert (await client.post("/rerank", json=example)).status_code == 200
