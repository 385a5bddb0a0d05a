"""Sends batches whose answers tell which line they belong to, and reads the results."""

import json
import time
from collections.abc import Sequence
from typing import Any

import httpx

KIND = {"content-type": "application/jsonl"}
WITHOUT_MODELS = {"PREPROCESS_EMBEDDER": "hashing", "RERANKER_SCORER": "overlap", "GENERATOR_LLM": "extractive"}
TOWNS = [f"town{n}" for n in range(30)]
DOCUMENTS = [
    {"id": town, "text": f"The mayor of {town} is called Ada Lund. {town} has a harbour."} for town in TOWNS
]
ENDED = {"done", "failed", "cancelled"}
LIMIT_S = 120.0


def line(n: int, route: str) -> dict[str, Any]:
    """A request whose answer tells which one it was."""
    town = TOWNS[n % len(TOWNS)]
    body = {
        "generate": {"query": f"Who is the mayor of {town}?"},
        "retrieve": {"query": f"harbour {town}", "top_k": 3},
        "embed": {"input": f"the harbour of {town} number {n}"},
    }[route]
    return {"custom_id": f"{route}/{n}", "method": "POST", "url": f"/v1/{route}", "body": body}


def encoded(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def post(client: httpx.Client, lines: Sequence[dict[str, Any]]) -> str:
    answer = client.post("/v1/batches", content=encoded(lines), headers=KIND)
    assert answer.status_code == 202, answer.text
    batch_id: str = answer.json()["id"]
    assert answer.headers["location"] == f"/batches/{batch_id}"
    return batch_id


def ended(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    """The batch once it has ended."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        view: dict[str, Any] = client.get(f"/batches/{batch_id}").json()
        if view["state"] in ENDED:
            return view
        time.sleep(0.05)
    raise TimeoutError(f"the batch did not end: {view}")


def results(client: httpx.Client, batch_id: str, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/batches/{batch_id}/results", params=params)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(raw) for raw in answer.text.splitlines()]


def lasting(body: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs from one time to the next."""
    passing = ("timings_ms", "cached", "instance", *(("id",) if "answer" in body else ()))
    kept = {name: value for name, value in body.items() if name not in passing}
    return {**kept, "results": [lasting(each) for each in kept["results"]]} if "results" in kept else kept


def hold(seen: dict[int, dict[str, Any]], found: Sequence[dict[str, Any]]) -> None:
    """Fail where a result that was read has changed, is gone or is there twice."""
    now = {result["line"]: result for result in found}
    assert len(now) == len(found)
    assert {number: now.get(number) for number in seen} == seen
    seen |= now
