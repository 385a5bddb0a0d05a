"""Many requests at once, large and small, of several scorers: each is answered, and a full queue says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragline.http import create_app
from ragline.settings import load
from services.reranker.__main__ import build
from services.reranker.settings import Settings

QUERY = "How is a lost message retried?"
TEXTS = ["A lost message is retried after a back-off.", "The office opens at nine.", "Lunch is at noon."]
BURST = 64


@asynccontextmanager
async def reranker(folder: Path, **values: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service as its process wires it."""
    service = await build(load(Settings, data_dir=folder, threads=2, scores_url="", budget_s=120, **values))
    await service.start()
    transport = httpx.ASGITransport(create_app(service.name, [service.router], checks=service.checks))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=300) as client:
            yield client
    finally:
        await service.stop()


async def burst(
    client: httpx.AsyncClient, scorers: list[str], largest: int, times: int = 1
) -> list[tuple[dict[str, Any], Any]]:
    """What was asked and what came, of as many requests at once; their sizes go from 1 up to ``largest``."""
    bodies = [
        {
            "query": QUERY,
            "passages": [TEXTS[place % 3] * times for place in range(1 + number % largest)],
            "scorer": scorers[number % len(scorers)],
        }
        for number in range(BURST)
    ]
    answers = await asyncio.gather(*(client.post("/rerank", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    return [(body, answer.json()) for body, answer in zip(bodies, answers, strict=True)]


@pytest.mark.models
async def test_mixed_scorers_all_answer(tmp_path: Path, minilm: Path, classifier: Path) -> None:
    extra = {
        "overlap": {"scorer": "overlap"},
        "tiny": {"scorer": "cross_encoder", "options": {"model": str(classifier), "runtime": "onnxruntime"}},
    }
    async with reranker(tmp_path, models_dir=minilm.parent, extra_scorers=extra) as client:
        answered = await burst(client, ["late_interaction", "overlap", "tiny"], 40)
    for body, answer in answered:
        assert answer["scorer"] == body["scorer"]
        assert answer["degraded"] == []
        assert sorted(each["index"] for each in answer["results"]) == list(range(len(body["passages"])))
        if body["scorer"] != "tiny":
            assert answer["results"][0]["index"] == 0


async def test_a_full_queue_says_so(tmp_path: Path) -> None:
    async with reranker(tmp_path, scorer="overlap", max_waiting=2) as client:
        answered = await burst(client, ["overlap"], 500, times=50)
        [(_, after)] = (await burst(client, ["overlap"], 1))[:1]
    ranked = [answer for _, answer in answered if answer["scorer"]]
    given = [(body, answer) for body, answer in answered if not answer["scorer"]]
    assert ranked
    assert given
    for body, answer in given:
        assert answer["degraded"] == ["overlap"]
        assert [each["index"] for each in answer["results"]] == list(range(len(body["passages"])))
    assert after["results"]
