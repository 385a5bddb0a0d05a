"""What a running suite says of itself, and that what is asked again comes from the caches."""

import re

import pytest

from tests.suite import Suite, put

pytestmark = [pytest.mark.models, pytest.mark.stack]

COLLECTION = "counted"
DOCUMENT = {"id": "well", "text": "The well in the garden of the mill is eleven metres deep. It was dug in 1843."}
QUESTION = {"query": "How deep is the well of the mill?", "collection": COLLECTION}


def read(page: str) -> dict[str, float]:
    """The hits of each cache, and the requests to /retrieve that were answered."""
    found = re.findall(r'^ragline_cache_reads_total\{cache="(\w+)",result="hit"\} (\S+)$', page, re.MULTILINE)
    asked = re.search(
        r'^ragline_http_requests_total\{method="POST",route="/retrieve",status="200"\} (\S+)$', page, re.MULTILINE
    )
    return {name: float(value) for name, value in found} | {"/retrieve": float(asked[1]) if asked else 0.0}


def test_the_same_again_is_kept_and_counted(suite: Suite) -> None:
    with suite.client() as client:
        put(client, [DOCUMENT], COLLECTION)
        first = client.post("/retrieve", json=QUESTION).json()
        answer = client.post("/generate", json=QUESTION).json()
        client.post("/rerank", json={"query": QUESTION["query"], "passages": [DOCUMENT["text"]]})
        before = read(client.get("/metrics").text)
        again = client.post("/retrieve", json=QUESTION).json()
        repeated = client.post("/generate", json=QUESTION).json()
        client.post("/rerank", json={"query": QUESTION["query"], "passages": [DOCUMENT["text"]]})
        after = read(client.get("/metrics").text)
    assert again["passages"] == first["passages"]
    assert set(again["timings_ms"]) == {"cache", "fetch", "total"}
    assert repeated["answer"] == answer["answer"]
    for name in ("retrieval", "rerank_scores", "answers", "/retrieve"):
        assert after[name] > before.get(name, 0.0), name
    assert {"embeddings", "token_vectors"} <= set(after)
