from typing import Any

import httpx
import pytest

QUERY = "How is a lost message retried?"
PASSAGES = ["The office opens at nine.", "A lost message is retried after a back-off.", "A message."]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
async def test_best_first(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json={"query": QUERY, "passages": PASSAGES})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"results", "scorer", "degraded"}
    assert [result["index"] for result in body["results"]] == [1, 2, 0]
    assert all(set(result) == {"index", "score", "raw"} for result in body["results"])
    assert all(0 <= result["score"] <= 1 for result in body["results"])
    assert (body["scorer"], body["degraded"]) == ("overlap", [])


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (3, 3), (100, 3), (None, 3)])
async def test_top_n(client: httpx.AsyncClient, top_n: int | None, count: int) -> None:
    response = await client.post("/rerank", json={"query": QUERY, "passages": PASSAGES, "top_n": top_n})
    assert len(response.json()["results"]) == count


async def test_what_scores_too_little_is_left_out(client: httpx.AsyncClient) -> None:
    body = {"query": QUERY, "passages": PASSAGES}
    scores = [result["score"] for result in (await client.post("/rerank", json=body)).json()["results"]]
    for least, count in ((0.0, 3), (scores[1], 2), (min(1.0, scores[0] + 1e-6), 0)):
        answer = (await client.post("/rerank", json={**body, "min_score": least})).json()
        assert [result["score"] for result in answer["results"]] == scores[:count]
    both = (await client.post("/rerank", json={**body, "min_score": scores[1], "top_n": 1})).json()
    assert [result["index"] for result in both["results"]] == [1]


async def test_a_scorer_may_be_chosen(client: httpx.AsyncClient) -> None:
    response = await client.post("/rerank", json={"query": QUERY, "passages": PASSAGES, "scorer": "bare"})
    assert response.json()["scorer"] == "bare"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "query"),
        ({"query": QUERY}, 400, "passages"),
        ({"query": "", "passages": PASSAGES}, 400, "query"),
        ({"query": " ", "passages": PASSAGES}, 400, "query"),
        ({"query": 7, "passages": PASSAGES}, 400, "query"),
        ({"query": None, "passages": PASSAGES}, 400, "query"),
        ({"query": QUERY, "passages": []}, 400, "passages"),
        ({"query": QUERY, "passages": "one"}, 400, "passages"),
        ({"query": QUERY, "passages": ["one", 2]}, 400, "passages[1]"),
        ({"query": QUERY, "passages": [["one"]]}, 400, "passages[0]"),
        ({"query": QUERY, "passages": PASSAGES, "top_n": 0}, 400, "top_n"),
        ({"query": QUERY, "passages": PASSAGES, "top_n": -1}, 400, "top_n"),
        ({"query": QUERY, "passages": PASSAGES, "top_n": "two"}, 400, "top_n"),
        ({"query": QUERY, "passages": PASSAGES, "top_n": 1.5}, 400, "top_n"),
        ({"query": QUERY, "passages": PASSAGES, "top_n": True}, 400, "top_n"),
        ({"query": QUERY, "passages": PASSAGES, "min_score": -0.1}, 400, "min_score"),
        ({"query": QUERY, "passages": PASSAGES, "min_score": 1.1}, 400, "min_score"),
        ({"query": QUERY, "passages": PASSAGES, "min_score": "high"}, 400, "min_score"),
        ({"query": QUERY, "passages": PASSAGES, "scorer": "nothing"}, 400, "scorer"),
        ({"query": QUERY, "passages": PASSAGES, "scorer": ""}, 400, "scorer"),
        ({"query": QUERY, "passages": PASSAGES, "explain": True}, 400, "explain"),
        ({"query": QUERY, "passages": PASSAGES, "topn": 1}, 400, "topn"),
        ({"query": QUERY, "passages": PASSAGES * 2}, 413, "passages"),
        ({"query": "why " * 2000, "passages": PASSAGES}, 413, "query"),
        ({"query": QUERY, "passages": ["", "x" * 100_001]}, 413, "passages[1]"),
    ],
)
async def test_bad_input_is_a_problem_that_names_the_field(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, field: str
) -> None:
    response = await client.post("/rerank", json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"query": "\\ud800", "passages": ["x"]}', b"\xff\xfe"]
)
async def test_what_is_no_request_is_a_problem(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/rerank", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"


async def test_odd_characters_do_no_harm(client: httpx.AsyncClient) -> None:
    body = {"query": "nul \x00 message", "passages": ["\x00", "", "\u202emessage\u202c", "🙂"]}
    response = await client.post("/rerank", json=body)
    assert [result["index"] for result in response.json()["results"]] == [2, 0, 1, 3]


async def test_openapi_has_examples(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    for example in schema["components"]["schemas"]["RerankBody"]["examples"]:
        assert (await client.post("/rerank", json=example)).status_code == 200
    assert schema["paths"]["/rerank"]["post"]["summary"]
