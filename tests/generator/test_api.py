"""The REST door: the contract, the limits and bad input, the streams."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio

from ragline.http import create_app
from services.generator import api, asking
from tests.generator import world

QUESTION = {"query": "How long is the warranty of the Kestrel router?"}
LIMITS = asking.Limits(query_chars=200, filter_chars=1000, top_k=20, answer_tokens=500)


@pytest_asyncio.fixture
async def client(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> AsyncIterator[httpx.AsyncClient]:
    router = api.router(
        world.answerer(retriever, reranker), world.summarizer(retriever, max_chars=20_000), LIMITS, max_documents=3
    )
    app = create_app("generator", [router], checks={})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://generator") as made:
        yield made


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block for block in text.split("\n\n") if block.startswith("event:")]
    split = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    return [(each["event"], json.loads(each["data"])) for each in split]


async def test_generate_keeps_the_contract(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/generate", json=QUESTION)
    assert response.status_code == 200
    body = response.json()
    told = {"id", "answer", "citations", "abstained", "degraded"}
    assert set(body) == told | {"usage", "timings_ms", "generation", "cached", "model", "prompt", "finish"}
    for citation in body["citations"]:
        assert set(citation) == {"marker", "document_id", "passage_id", "quote", "start", "end", "score"}
        source = world.SOURCES[citation["document_id"]][1]
        assert citation["quote"] == source[citation["start"] : citation["end"]]
    assert set(re.findall(r"\[\d+\]", body["answer"])) == {each["marker"] for each in body["citations"]}
    assert body["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0}


async def test_stream_ends_with_the_same_object(client: httpx.AsyncClient) -> None:
    response = await client.post("/generate", json={**QUESTION, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    sent = events(response.text)
    names = [name for name, _ in sent]
    assert names[0] == "passages"
    assert names[-2:] == ["usage", "done"]
    done = sent[-1][1]
    assert "".join(data["text"] for name, data in sent if name == "token") == done["answer"]
    assert [data for name, data in sent if name == "citation"] == done["citations"]
    first = sent[0][1]["passages"][0]
    assert set(first) == {"id", "document_id", "title", "text", "score", "start", "end", "metadata"}
    assert first["metadata"] == {"kind": "kestrel"}


async def test_a_failure_before_the_stream_has_its_status(client: httpx.AsyncClient) -> None:
    response = await client.post("/generate", json={**QUESTION, "stream": True, "collection": "nowhere"})
    assert response.status_code == 404
    assert response.json()["title"] == "Not found"


async def test_explain_is_added(client: httpx.AsyncClient) -> None:
    body = (await client.post("/generate", json={**QUESTION, "explain": True})).json()
    assert body["explain"]["passages"][0]["rank"] == 1


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"query": ""}, 400, "query"),
        ({"query": " \n"}, 400, "query"),
        ({"query": "x" * 201}, 413, "GENERATOR_MAX_QUERY_CHARS"),
        ({"query": 3}, 400, "query"),
        ({"top_k": 0}, 400, "top_k"),
        ({"top_k": 21}, 400, "GENERATOR_MAX_TOP_K"),
        ({"top_k": "5"}, 400, "top_k"),
        ({"max_tokens": 501}, 400, "GENERATOR_MAX_ANSWER_TOKENS"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"temperature": -0.1}, 400, "temperature"),
        ({"temperature": 2.1}, 400, "temperature"),
        ({"collection": "../etc"}, 400, "collection"),
        ({"collection": "nowhere"}, 404, "there are default and empty"),
        ({"filter": {"colour": "red"}}, 400, "filter.colour"),
        ({"filter": {"kind": "x" * 1000}}, 413, "GENERATOR_MAX_FILTER_CHARS"),
        ({"filter": "kind"}, 400, "filter"),
        ({"top_p": 1}, 400, "top_p"),
    ],
)
async def test_bad_input_names_the_field(
    client: httpx.AsyncClient, change: dict[str, Any], status: int, says: str
) -> None:
    response = await client.post("/generate", json={**QUESTION, **change})
    assert response.status_code == status, response.text
    assert says in response.text


@pytest.mark.parametrize(
    "query", ["\u202etxet", "a\u0000b", "\u6c34\u304c\u3042\u308b", "\U0001f600", "a b " * 50]
)
async def test_odd_characters_are_just_a_question(client: httpx.AsyncClient, query: str) -> None:
    response = await client.post("/generate", json={"query": query})
    assert response.status_code == 200
    assert response.json()["abstained"]


async def test_lone_surrogates_are_refused(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post("/generate", content=b'{"query": "\\ud800"}', headers=headers)
    assert response.status_code == 400


async def test_summarize(client: httpx.AsyncClient) -> None:
    body = (await client.post("/summarize", json={"document_ids": ["queue", "brell"], "max_tokens": 60})).json()
    told = {"summary", "citations", "documents", "usage", "timings_ms", "model", "degraded", "finish", "cached"}
    assert set(body) == told | {"abstained"}
    assert body["summary"]
    assert {each["document_id"] for each in body["citations"]} <= {"queue", "brell"}
    response = await client.post("/summarize", json={"text": world.BRELL_SOURCE, "stream": True})
    sent = events(response.text)
    assert sent[0][0] == "progress"
    assert "".join(data["text"] for name, data in sent if name == "token") == sent[-1][1]["summary"]
    assert [data for name, data in sent if name == "citation"] == sent[-1][1]["citations"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "text"),
        ({"text": "a.", "document_ids": ["b"]}, 400, "either"),
        ({"text": " \n"}, 400, "no text"),
        ({"text": "a. " * 7000}, 413, "GENERATOR_MAX_SUMMARY_CHARS"),
        ({"text": "a.", "query": "b" * 9000}, 413, "query"),
        ({"text": "a.", "llm": "none"}, 400, "there are"),
        ({"document_ids": []}, 400, "document_ids"),
        ({"document_ids": ["a", "b", "c", "d"]}, 413, "GENERATOR_MAX_SUMMARY_DOCUMENTS"),
        ({"document_ids": ["nowhere"]}, 404, "nowhere"),
        ({"text": "a.", "max_tokens": 5000}, 400, "GENERATOR_MAX_ANSWER_TOKENS"),
        ({"text": "a.", "words": 3}, 400, "words"),
    ],
)
async def test_bad_input_to_summarize(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, says: str
) -> None:
    response = await client.post("/summarize", json=body)
    assert response.status_code == status, response.text
    assert says in response.text


async def test_the_page_of_routes_has_examples(client: httpx.AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert schemas["GenerateBody"]["examples"]
    assert schemas["SummarizeBody"]["examples"]
    assert "citations" in schemas["AnswerBody"]["properties"]
