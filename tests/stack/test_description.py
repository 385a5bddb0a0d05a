"""Answers are what the OpenAPI description of their route says: a status and a media type that stand there."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.suite import put

pytestmark = [pytest.mark.models, pytest.mark.stack]

NOBODY = {"batch_id": "batch-none", "job_id": "job-none", "session_id": "none", "document_id": "none"}
PROBLEM = "application/problem+json"
QUERY = "How long is the warranty of the pump?"


def documented(schema: dict[str, Any], method: str, path: str) -> dict[str, set[str]]:
    """The media types of each status of a route; ``default`` has those of all others."""
    shared = schema["components"]["responses"]
    found = {}
    for status, response in schema["paths"][path][method]["responses"].items():
        named = shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
        found[status] = set(named.get("content", {}))
    return found


def agree(answer: httpx.Response, schema: dict[str, Any], path: str) -> None:
    """Fail unless a status and a media type are those of the description."""
    kinds = documented(schema, answer.request.method.lower(), path)
    kind = answer.headers.get("content-type", "").partition(";")[0]
    known = kinds.get(str(answer.status_code), kinds["default"] if answer.is_error else None)
    assert known is not None, (path, answer.status_code, answer.text[:300])
    assert (kind in known) if kind else (not known), (path, answer.status_code, kind, known)


@pytest.fixture
def schema(client: httpx.Client) -> dict[str, Any]:
    """The description of all routes of the running suite."""
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"query": QUERY}),
        ("/generate", {"query": QUERY, "stream": True}),
        ("/generate", {"query": ""}),
        ("/summarize", {"text": "The pump is red. It is loud.", "stream": True}),
        ("/retrieve", {"query": QUERY}),
        ("/rerank", {"query": QUERY, "passages": ["pump"]}),
        ("/embed", {"input": "pump"}),
        ("/sessions", {}),
        ("/feedback", {"answer_id": "none", "rating": "up"}),
        ("/v1/chat/completions", {"model": "ragline", "messages": [{"role": "user", "content": QUERY}]}),
        (
            "/v1/chat/completions",
            {"model": "ragline", "stream": True, "messages": [{"role": "user", "content": QUERY}]},
        ),
        ("/v1/chat/completions", {"model": "ragline", "messages": []}),
        ("/v1/embeddings", {"model": "all-MiniLM-L6-v2", "input": "pump"}),
    ],
)
def test_what_is_sent_is_answered_as_described(
    client: httpx.Client, handbook: str, schema: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    named = body if path in {"/rerank", "/embed", "/feedback"} or path.startswith("/v1") else None
    agree(client.post(path, json=named or {**body, "collection": handbook}), schema, path)


def test_each_get_is_answered_as_described(client: httpx.Client, schema: dict[str, Any]) -> None:
    """With names of nothing: what is there answers 200, what is not with a problem."""
    asked = 0
    for path, operations in schema["paths"].items():
        if "get" in operations:
            agree(client.get(path.format_map({**NOBODY, "name": "none", "custom_id": "none"})), schema, path)
            asked += 1
    assert asked > 15


def test_what_follows_work_is_answered_as_described(
    client: httpx.Client, collection: str, schema: dict[str, Any]
) -> None:
    job = put(client, [{"id": "one", "text": "One ferry."}], collection)
    agree(client.get(f"/jobs/{job['id']}/events"), schema, "/jobs/{job_id}/events")
    line = json.dumps({"custom_id": "a", "url": "/embed", "body": {"input": "x"}})
    taken = client.post("/batches", content=line, headers={"content-type": "application/jsonl"})
    agree(taken, schema, "/batches")
    batch = f"/batches/{taken.json()['id']}"
    agree(client.get(f"{batch}/events"), schema, "/batches/{batch_id}/events")  # until it has ended
    agree(client.get(f"{batch}/results"), schema, "/batches/{batch_id}/results")
    agree(client.get(f"{batch}/results/a"), schema, "/batches/{batch_id}/results/{custom_id}")
