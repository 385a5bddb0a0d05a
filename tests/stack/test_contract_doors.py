"""What all routes of the running suite share: /v1 twins, probes, OpenAPI, ids, deadlines; embed and rerank."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI

from tests.stack import shapes
from tests.stack.problems import problem
from tests.suite import Suite, free_ports

pytestmark = [pytest.mark.models, pytest.mark.stack]

DIALECTS = {"/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/{name}"}
TEXTS = ["Lost messages are sent again.", "The office opens at nine.", "Grüße aus Tromsø 😀"]


def test_embed(client: httpx.Client) -> None:
    answer = client.post("/embed", json={"input": TEXTS})
    assert answer.status_code == 200
    shape = {"embeddings": [[float]], "model": str, "dimensions": int, "usage": {"tokens": int}}
    shapes.check(answer.json(), shape)
    body = answer.json()
    assert (body["model"], body["dimensions"]) == ("all-MiniLM-L6-v2", 384)
    assert [len(vector) for vector in body["embeddings"]] == [384] * 3
    for vector in body["embeddings"]:
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-4)
    alone = client.post("/embed", json={"input": TEXTS[2]}).json()["embeddings"]
    assert len(alone) == 1
    assert alone[0] == pytest.approx(body["embeddings"][2], abs=1e-4)


def test_rerank(client: httpx.Client) -> None:
    body = {"query": "When does the office open?", "passages": TEXTS, "top_n": 2}
    answer = client.post("/rerank", json=body)
    assert answer.status_code == 200
    row = {"index": int, "score": float, "raw": float}
    shapes.check(answer.json(), {"results": [row], "scorer": str, "degraded": [str]})
    results = answer.json()["results"]
    assert results[0]["index"] == 1
    assert len(results) == 2
    assert results[0]["score"] > results[1]["score"]
    assert results[0]["raw"] > results[1]["raw"]
    assert set(results[0]) == set(row)
    assert answer.json()["scorer"] == "late_interaction"


def test_native_routes_stand_under_v1_too(client: httpx.Client, handbook: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/retrieve": {"query": "pump", "collection": handbook},
        "/embed": {"input": "pump"},
        "/rerank": {"query": "pump", "passages": ["pump"]},
        "/generate": {"query": "How long is the warranty?", "collection": handbook},
        "/summarize": {"text": "The pump is red.", "max_tokens": 8},
    }
    for path, body in bodies.items():
        bare, twin = client.post(path, json=body), client.post(f"/v1{path}", json=body)
        assert (bare.status_code, twin.status_code) == (200, 200), path
        assert set(bare.json()) == set(twin.json())
    for path in ("/documents", "/documents/manuals/pump"):
        query = {"collection": handbook}
        assert client.get(path, params=query).json() == client.get(f"/v1{path}", params=query).json()
    posted = client.post("/v1/documents", json={"collection": handbook, "documents": [{"id": "x", "text": "x"}]})
    assert client.get(f"/v1/jobs/{posted.json()['job_id']}").status_code == 200
    assert client.delete("/v1/documents/x", params={"collection": handbook}).status_code in {200, 404}


def test_probes(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    checks = ready.json()["checks"]
    assert set(checks.values()) == {"ok"}
    assert {name.partition(".")[0] for name in checks} >= {"preprocess", "retriever", "reranker", "generator"}


@contextmanager
def alone(service: str, folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """One service as a process of its own, killed at the end."""
    environment = {**os.environ, "RAGLINE_DATA_DIR": str(folder), **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", f"services.{service}"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(url: str, status: int, process: subprocess.Popen[bytes]) -> httpx.Response:
    """The first answer with ``status``."""
    while True:
        assert process.poll() is None
        try:
            answer = httpx.get(url, timeout=60)
        except httpx.TransportError:
            continue
        if answer.status_code == status:
            return answer


def test_alive_is_not_ready(tmp_path: Path, minilm: Path) -> None:
    port, grpc_port, retriever, retriever_grpc = free_ports(4)
    own = {
        "PREPROCESS_PORT": str(port),
        "PREPROCESS_GRPC_PORT": str(grpc_port),
        "PREPROCESS_RETRIEVER_ADDRESS": f"127.0.0.1:{retriever_grpc}",
    }
    other = {
        "RETRIEVER_PORT": str(retriever),
        "RETRIEVER_GRPC_PORT": str(retriever_grpc),
        "RETRIEVER_PREPROCESS_ADDRESS": f"127.0.0.1:{grpc_port}",
    }
    url = f"http://127.0.0.1:{port}"
    with alone("preprocess", tmp_path, own) as process:
        assert until(f"{url}/healthz", 200, process).json() == {"status": "ok"}
        waiting = until(f"{url}/readyz", 503, process)
        problem(waiting, 503, "retriever")
        assert waiting.json()["checks"]["preprocess.retriever"] != "ok"
        with alone("retriever", tmp_path, other):
            until(f"{url}/readyz", 200, process)
        until(f"{url}/readyz", 503, process)


def test_openapi_is_valid_and_its_examples_work(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    schema = OpenAPI.model_validate(described)
    assert schema.paths is not None
    assert {
        "/documents",
        "/documents/{document_id}",
        "/collections",
        "/collections/{name}",
        "/collections/{name}/reembed",
        "/jobs/{job_id}",
        "/jobs/{job_id}/events",
        "/retrieve",
        "/rerank",
        "/generate",
        "/summarize",
        "/embed",
        "/healthz",
        "/readyz",
    } <= set(schema.paths)
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            failed = "Fault" if path in DIALECTS else "Problem"
            assert operation["responses"]["default"] == {"$ref": f"#/components/responses/{failed}"}, path
    tried = [
        path
        for path in described["paths"]
        if not path.startswith("/admin/")  # those name a model of one's own
        for example in examples(described, path)
        if works(client, path, example)
    ]
    own = {"/documents", "/retrieve", "/rerank", "/generate", "/summarize", "/embed"}
    assert set(tried) >= own | {"/v1/chat/completions", "/v1/embeddings"}
    assert tried.count("/rerank") == 4  # in its own shape, and in that of other clients


def examples(described: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The examples of the JSON body that a POST to ``path`` takes."""
    content = described["paths"][path].get("post", {}).get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    found: list[dict[str, Any]] = schema.get("examples", [])
    for shape in schema.get("oneOf", schema.get("anyOf", [schema])):
        if "$ref" in shape:
            found = found + described["components"]["schemas"][shape["$ref"].rpartition("/")[2]]["examples"]
    return found


def works(client: httpx.Client, path: str, example: dict[str, Any]) -> bool:
    """Whether the example is taken as it stands; its collection need not be there."""
    whole = {name: value for name, value in example.items() if not name.startswith("stream")}
    answer = client.post(path, json=whole)
    if answer.status_code == 404 and path in DIALECTS:
        assert answer.json()["error"]["code"] == "model_not_found"
    elif answer.status_code == 404:
        problem(answer, 404, "record" if path == "/feedback" else "collection")
    return answer.status_code in {200, 202, 404}


def test_references_of_openapi_lead_somewhere(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            node = list(node.values())
        if isinstance(node, list):
            for inner in node:
                yield from walk(inner)

    for reference in set(walk(described)):
        at: Any = described
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_docs_are_a_page(client: httpx.Client) -> None:
    assert client.get("/docs").status_code == 200
    assert client.get("/").json()["openapi"] == "/openapi.json"


def test_request_ids_go_in_and_out(client: httpx.Client, suite: Suite) -> None:
    given = client.get("/jobs/none", headers={"X-Request-Id": "order-66.a_b"})
    assert given.headers["x-request-id"] == "order-66.a_b"
    assert problem(given, 404)["instance"] == "order-66.a_b"
    made = {client.get("/healthz").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    for bad in ("x" * 5000, "a b\tc", "<script>"):
        own = client.get("/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert own != bad


@pytest.mark.parametrize("path", ["/generate", "/retrieve", "/embed", "/rerank", "/summarize"])
def test_a_deadline_that_cannot_be_met_is_a_timeout(client: httpx.Client, handbook: str, path: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/generate": {"query": "What is in the harbour at night?", "collection": handbook},
        "/retrieve": {"query": "What is in the harbour at night?", "collection": handbook, "rerank": True},
        "/embed": {"input": "What is in the harbour at night? " * 200},
        "/rerank": {
            "query": "harbour at night",
            "passages": [f"Ship {n} lies in the harbour." for n in range(300)],
        },
        "/summarize": {"text": "The harbour is wide. " * 20, "max_tokens": 8},
    }
    answer = client.post(path, json=bodies[path], headers={"X-Request-Timeout-S": "0.0005"})
    problem(answer, 504)
    assert client.post(path, json=bodies[path], headers={"X-Request-Timeout-S": "100"}).status_code == 200


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf", "1e9", ""])
def test_a_deadline_that_is_none_is_refused(client: httpx.Client, given: str) -> None:
    answer = client.get("/documents", headers={"X-Request-Timeout-S": given})
    problem(answer, 400, "x-request-timeout-s")
