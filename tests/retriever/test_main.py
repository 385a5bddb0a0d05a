"""The service as its process wires it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from ragline.grpc_client import call, channel
from ragline.grpc_server import GrpcServer
from ragline.http import create_app
from ragline.http.ready import READY, run_all
from ragline.settings import SettingsError, load
from ragline.v1.retriever_pb2_grpc import RetrieverStub
from services.retriever.__main__ import build
from services.retriever.settings import Settings
from tests.retriever.library import LIBRARY, request


def settings(folder: Path, **values: Any) -> Settings:
    return load(Settings, data_dir=folder, threads=2, **values)


async def test_both_doors_over_one_store_and_again_after_a_restart(tmp_path: Path, preprocess: str) -> None:
    chosen = settings(tmp_path, preprocess_address=preprocess)
    service = await build(chosen)
    await service.start()
    assert await run_all(service.checks) == {"store": READY}
    server = GrpcServer("127.0.0.1:0", service.add_rpc, max_message_mb=16, drain_s=0)
    port = await server.start()
    async with channel(f"127.0.0.1:{port}", max_message_mb=16) as opened:
        for name, texts in LIBRARY.items():
            await call(RetrieverStub(opened).Upsert, request(name, texts), timeout_s=10)
    await server.stop()
    await service.stop()

    service = await build(chosen)
    app = create_app(service.name, [service.router], checks=service.checks)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = (await client.post("/retrieve", json={"query": "bread dough"})).json()
    await service.stop()
    assert answer["passages"][0]["document_id"] == "kitchen"
    assert answer["generation"] == 4


async def test_a_second_one_on_the_same_data_is_refused(tmp_path: Path) -> None:
    service = await build(settings(tmp_path))
    with pytest.raises(SettingsError, match="Another retriever"):
        await build(settings(tmp_path))
    await service.stop()


@pytest.mark.parametrize(
    "values",
    [
        {"store": "nowhere"},
        {"sparse": "lucene"},
        {"dense": "hnsw2"},
        {"sparse_options": {"boost": 1}},
        {"dense_options": {"segment_rows": "many"}},
    ],
)
async def test_a_back_end_that_is_none_stops_the_start(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        await build(settings(tmp_path, **values))


@pytest.mark.parametrize(
    ("name", "value"),
    [("RETRIEVER_FUSION", "magic"), ("RETRIEVER_PORT", "70000"), ("RETRIEVER_FUSSION", "rrf")],
)
def test_bad_settings_stop_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load(Settings)
