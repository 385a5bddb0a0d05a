"""Requests of the wrong shape: each refusal names the field and the way out, and nothing inside is told."""

import json
import socket
from typing import Any

import httpx
import pytest

from tests.stack.problems import problem
from tests.suite import Suite

pytestmark = [pytest.mark.models, pytest.mark.stack]

JSON = {"content-type": "application/json"}
POSTS = ("/documents", "/retrieve", "/generate", "/embed", "/rerank", "/summarize")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{'query': 'x'}",
        b'{"query": NaN}',
        b'{"query": "\\ud800"}',
        b"\xff\xfe{\x00}\x00",
        b'{"query": "x"} trailing',
        b"[" * 100_000,
        b'{"query": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b"\x00",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_body(client: httpx.Client, path: str, body: bytes) -> None:
    problem(client.post(path, content=body, headers=JSON), 400)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("/documents", {}, "documents"),
    ("/documents", {"documents": []}, "documents"),
    ("/documents", {"documents": "text"}, "documents"),
    ("/documents", {"documents": [{"id": "a"}]}, "documents[0].text"),
    ("/documents", {"documents": [{"text": 7}]}, "documents[0].text"),
    ("/documents", {"documents": [{"text": ""}]}, "documents[0].text"),
    ("/documents", {"documents": [{"text": "  \n"}]}, "documents[0].text"),
    ("/documents", {"documents": [{"text": "x"}, {"text": None}]}, "documents[1].text"),
    ("/documents", {"documents": [{"text": "x", "metadata": {"a": {"b": 1}}}]}, "metadata"),
    ("/documents", {"documents": [{"text": "x", "metadata": [1]}]}, "metadata"),
    ("/documents", {"documents": [{"text": "x", "titel": "y"}]}, "titel"),
    ("/documents", {"documents": [{"text": "x", "metadata": {"a": "b" * 20_000}}]}, "metadata"),
    ("/retrieve", {}, "query"),
    ("/retrieve", {"query": ""}, "query"),
    ("/retrieve", {"query": " \n"}, "query"),
    ("/retrieve", {"query": ["x"]}, "query"),
    ("/retrieve", {"query": "x", "queries": ["x"]}, "queries"),
    ("/retrieve", {"queries": []}, "queries"),
    ("/retrieve", {"queries": ["x", ""]}, "queries[1]"),
    ("/retrieve", {"queries": ["x", 1]}, "queries[1]"),
    ("/retrieve", {"query": "x", "top_k": 0}, "top_k"),
    ("/retrieve", {"query": "x", "top_k": -1}, "top_k"),
    ("/retrieve", {"query": "x", "top_k": 101}, "top_k"),
    ("/retrieve", {"query": "x", "top_k": 10**30}, "top_k"),
    ("/retrieve", {"query": "x", "top_k": "5"}, "top_k"),
    ("/retrieve", {"query": "x", "top_k": 1.5}, "top_k"),
    ("/retrieve", {"query": "x", "top_k": True}, "top_k"),
    ("/retrieve", {"query": "x", "mode": "magic"}, "mode"),
    ("/retrieve", {"query": "x", "rerank": "yes"}, "rerank"),
    ("/retrieve", {"query": "x", "limit": 5}, "limit"),
    ("/retrieve", {"query": "x", "collection": 5}, "collection"),
    ("/retrieve", {"query": "x", "filter": "year > 2020"}, "filter"),
    ("/retrieve", {"query": "x", "filter": [1]}, "filter"),
    ("/retrieve", {"query": "x", "filter": {"$where": "1"}}, "filter.$where"),
    ("/retrieve", {"query": "x", "filter": {"year": {"$near": 1}}}, "filter.year.$near"),
    ("/retrieve", {"query": "x", "filter": {"year": {"$gt": None}}}, "filter.year.$gt"),
    ("/retrieve", {"query": "x", "filter": {"year": {"$in": 3}}}, "filter.year.$in"),
    ("/retrieve", {"query": "x", "filter": {"year": {"$in": [[3]]}}}, "filter.year.$in"),
    ("/retrieve", {"query": "x", "filter": {"year": {}}}, "filter.year"),
    ("/retrieve", {"query": "x", "filter": {"$or": []}}, "filter.$or"),
    ("/retrieve", {"query": "x", "filter": {'a"b': 1}}, "filter"),
    ("/retrieve", {"query": "x", "filter": {"": 1}}, "filter"),
    ("/retrieve", {"query": "x", "filter": {"n": 2**70}}, "filter.n"),
    ("/generate", {}, "query"),
    ("/generate", {"query": ""}, "query"),
    ("/generate", {"query": 1}, "query"),
    ("/generate", {"query": "x", "top_k": 0}, "top_k"),
    ("/generate", {"query": "x", "top_k": 101}, "top_k"),
    ("/generate", {"query": "x", "max_tokens": 0}, "max_tokens"),
    ("/generate", {"query": "x", "max_tokens": 10**9}, "max_tokens"),
    ("/generate", {"query": "x", "temperature": -1}, "temperature"),
    ("/generate", {"query": "x", "temperature": 3}, "temperature"),
    ("/generate", {"query": "x", "temperature": "hot"}, "temperature"),
    ("/generate", {"query": "x", "stream": "yes"}, "stream"),
    ("/generate", {"query": "x", "filter": {"year": {"$near": 1}}}, "filter.year.$near"),
    ("/generate", {"query": "x", "stream": True, "filter": {"year": {"$near": 1}}}, "filter.year.$near"),
    ("/generate", {"query": "x", "stream": True, "collection": "no such"}, "collection"),
    ("/embed", {}, "input"),
    ("/embed", {"input": []}, "input"),
    ("/embed", {"input": ""}, "input"),
    ("/embed", {"input": ["x", ""]}, "input[1]"),
    ("/embed", {"input": [1]}, "input[0]"),
    ("/embed", {"input": {"text": "x"}}, "input"),
    ("/rerank", {"query": "x"}, "passages"),
    ("/rerank", {"query": "", "passages": ["x"]}, "query"),
    ("/rerank", {"query": "x", "passages": []}, "passages"),
    ("/rerank", {"query": "x", "passages": ["x", 3]}, "passages[1]"),
    ("/rerank", {"query": "x", "passages": ["x"], "top_n": 0}, "top_n"),
    ("/rerank", {"query": "x", "passages": ["x"], "scorer": "best"}, "scorer"),
    ("/summarize", {}, "text"),
    ("/summarize", {"text": ""}, "text"),
    ("/summarize", {"text": "x", "document_ids": ["y"]}, "text"),
    ("/summarize", {"document_ids": []}, "document_ids"),
    ("/summarize", {"text": "x", "max_tokens": -1}, "max_tokens"),
]


@pytest.mark.parametrize(("path", "body", "field"), WRONG, ids=lambda value: json.dumps(value)[:50])
def test_the_field_at_fault_is_named(client: httpx.Client, path: str, body: dict[str, Any], field: str) -> None:
    told = problem(client.post(path, json=body), 400)
    assert any(error["field"].startswith(field) or field in error["field"] for error in told["errors"]), told


LARGE: list[tuple[str, dict[str, Any], str]] = [
    ("/documents", {"documents": [{"text": f"t{n}"} for n in range(1001)]}, "max_documents"),
    ("/retrieve", {"query": "x" * 4097}, "RETRIEVER_MAX_QUERY_CHARS"),
    ("/retrieve", {"queries": ["x"] * 1001}, "RETRIEVER_MAX_QUERIES"),
    ("/generate", {"query": "x" * 4097}, "GENERATOR_MAX_QUERY_CHARS"),
    ("/generate", {"query": "x", "filter": {"a": "b" * 20_000}}, "GENERATOR_MAX_FILTER_CHARS"),
    ("/embed", {"input": ["x"] * 1025}, "PREPROCESS_MAX_INPUTS"),
    ("/embed", {"input": "x" * 100_001}, "PREPROCESS_MAX_CHARS"),
    ("/rerank", {"query": "x", "passages": ["x"] * 1001}, "RERANKER_MAX_PASSAGES"),
    ("/rerank", {"query": "x" * 4097, "passages": ["x"]}, "RERANKER_MAX_QUERY_CHARS"),
    ("/summarize", {"text": "x" * 2_000_001}, "GENERATOR_MAX_SUMMARY_CHARS"),
    ("/summarize", {"document_ids": ["x"] * 101}, "GENERATOR_MAX_SUMMARY_DOCUMENTS"),
]


@pytest.mark.parametrize(("path", "body", "limit"), LARGE, ids=lambda value: str(value)[:50])
def test_what_is_too_large_names_the_limit(
    client: httpx.Client, path: str, body: dict[str, Any], limit: str
) -> None:
    problem(client.post(path, json=body), 413, limit)


def test_other_kinds_of_body(client: httpx.Client) -> None:
    problem(client.post("/retrieve", content=b"query=x", headers={"content-type": "text/plain"}), 415)
    problem(client.post("/retrieve", data={"query": "x"}), 415, "application/json")
    problem(client.post("/documents", content=b"x", headers={"content-type": "application/pdf"}), 415)
    zipped = {**JSON, "content-encoding": "gzip"}
    problem(client.post("/retrieve", content=b"\x1f\x8b", headers=zipped), 415, "gzip")


def test_forms_of_the_wrong_shape(client: httpx.Client) -> None:
    file = ("a.txt", b"x")
    problem(client.post("/documents", files={"file": file}), 400, "file", "files")
    problem(client.post("/documents", files={"files": file}, data={"collection": "a b"}), 400, "collection")
    problem(client.post("/documents", files={"files": file}, data={"metadata": "{"}), 400, "metadata")
    problem(client.post("/documents", files={"files": file}, data={"metadata": '{"a": {}}'}), 400, "metadata")
    problem(client.post("/documents", files={"files": file}, data={"ids": ["a", "b"]}), 400, "ids")
    headers = {"content-type": "multipart/form-data; boundary=xx"}
    problem(client.post("/documents", content=b"--yy\r\nnonsense", headers=headers), 400)
    problem(client.post("/documents", content=b"", headers={"content-type": "multipart/form-data"}), 400)


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    problem(client.get("/nowhere"), 404, "/nowhere", "/docs")
    problem(client.get("/v1/nowhere"), 404)
    problem(client.get("/../../etc/passwd"), 404)
    problem(client.get("/retrieve"), 405, "POST")
    problem(client.put("/documents/a"), 405, "DELETE, GET")
    problem(client.put("/documents"), 405, "GET, POST")
    problem(client.delete("/generate"), 405, "POST")
    assert "POST" in client.get("/retrieve").headers["allow"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "collection=a%20b", f"after={'x' * 600}"])
def test_parameters_of_a_list(client: httpx.Client, query: str) -> None:
    problem(client.get(f"/documents?{query}"), 400, query.partition("=")[0])


def test_one_with_no_manners(suite: Suite) -> None:
    """Bytes that are no HTTP are answered or hung up on; the next client is served."""
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", suite.port), timeout=60) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            said = connection.recv(4096)
            assert b"Traceback" not in said
    assert suite.ready()
