"""The service as its process wires it."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from ragline.http import create_app
from ragline.http.ready import READY, run_all
from ragline.service import Service
from ragline.settings import SettingsError, load
from services.reranker.__main__ import build
from services.reranker.settings import Settings


def settings(folder: Path, **values: Any) -> Settings:
    return load(Settings, data_dir=folder, threads=2, **values)


async def rerank(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    app = create_app(service.name, [service.router], checks=service.checks)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer: dict[str, Any] = (await client.post("/rerank", json=body)).json()
    return answer


async def test_without_weights(tmp_path: Path) -> None:
    extra = {"bare": {"scorer": "overlap", "options": {"phrases": 0}}}
    service = await build(settings(tmp_path, scorer="overlap", extra_scorers=extra))
    await service.start()
    body = {"query": "lost message", "passages": ["nine", "a lost message"], "scorer": "bare"}
    answer = await rerank(service, body)
    await service.stop()
    assert [result["index"] for result in answer["results"]] == [1, 0]
    assert (service.name, answer["scorer"]) == ("reranker", "bare")


@pytest.mark.models
async def test_as_it_ships(tmp_path: Path, minilm: Path) -> None:
    service = await build(settings(tmp_path, models_dir=minilm.parent, extra_scorers=["overlap"]))
    assert READY not in (await run_all(service.checks)).values()
    await service.start()
    assert set((await run_all(service.checks)).values()) == {READY}
    passages = ["The office opens at nine.", "It is sent again after a back-off."]
    answer = await rerank(
        service, {"query": "How is a lost message retried?", "passages": passages, "explain": True}
    )
    await service.stop()
    assert [result["index"] for result in answer["results"]] == [1, 0]
    assert answer["scorer"] == "late_interaction"
    assert all(
        {"start", "end", "query_start", "query_end", "similarity"} == set(m)
        for m in answer["results"][0]["matches"]
    )
    assert (tmp_path / "cache.db").exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"scorer": "nonsense"}, "'nonsense' is none of the scorers"),
        ({"scorer": "overlap", "scorer_options": {"k1": -1}}, "option 'k1' of overlap"),
        ({"scorer": "overlap", "extra_scorers": ["overlap"]}, "RERANKER_EXTRA_SCORERS"),
        ({"scorer": "overlap", "cache_url": "redis2://x"}, "redis2"),
    ],
)
async def test_what_stops_the_start(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        await build(settings(tmp_path, **values))
    assert says in str(caught.value)
