"""The wiring: what is built serves both doors, says when it is ready, and ends cleanly."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ragline import metrics
from ragline.errors import Unavailable
from ragline.grpc_client import call, channel
from ragline.grpc_server import GrpcServer
from ragline.http import create_app
from ragline.settings import SettingsError
from ragline.v1 import preprocess_pb2 as pb
from ragline.v1 import preprocess_pb2_grpc
from services.preprocess.__main__ import build
from tests.preprocess.world import settings
from tests.suite import free_ports


async def test_what_is_built_embeds_and_ingests_and_is_ready(tmp_path: Path, address: str) -> None:
    service = await build(settings(tmp_path / "p", address))
    server = GrpcServer("127.0.0.1:0", service.add_rpc, max_message_mb=16, drain_s=1)
    port = await server.start()
    app = create_app("preprocess", [service.router], checks=service.checks)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            assert (await client.get("/readyz")).status_code == 503
            await service.start()
            answer = await client.get("/readyz")
            assert answer.json()["checks"] == {"embedder": "ok", "retriever": "ok", "queue": "ok"}
            assert (await client.post("/embed", json={"input": "One."})).json()["dimensions"] == 256
            accepted = await client.post("/documents", json={"documents": [{"text": "One."}]})
            events = (await client.get(f"{accepted.headers['location']}/events")).text
            assert "event: done" in events
        async with channel(f"127.0.0.1:{port}", max_message_mb=16) as wire:
            embed = preprocess_pb2_grpc.PreprocessStub(wire).Embed
            assert (await call(embed, pb.EmbedRequest(texts=["One."]), timeout_s=10)).dimensions == 256
    finally:
        await server.stop()
        await service.stop()


async def test_it_is_alive_but_not_ready_without_a_retriever(tmp_path: Path) -> None:
    service = await build(settings(tmp_path, "127.0.0.1:1"))
    app = create_app("preprocess", [service.router], checks=service.checks)
    await service.start()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            assert (await client.get("/healthz")).status_code == 200
            body = (await client.get("/readyz")).json()
            assert (body["status"], body["checks"]["embedder"]) == (503, "ok")
            assert body["checks"]["retriever"] != "ok"
            # Nothing bounds the number of a write that a door gives before it has met the retriever.
            assert (await client.post("/documents", json={"documents": [{"text": "x"}]})).status_code == 503
            assert (await client.post("/embed", json={"input": "One."})).status_code == 200
    finally:
        await service.stop()


async def test_a_door_embeds_while_queue_and_retriever_are_away(tmp_path: Path) -> None:
    [port] = free_ports(1)
    broker = f"amqp://guest:guest@127.0.0.1:{port}/"
    service = await build(settings(tmp_path, "127.0.0.1:1", role="door", broker_url=broker))
    app = create_app("preprocess", [service.router], checks=service.checks)
    await service.start()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["checks"]) == (200, {"embedder": "ok"})
            assert (await client.post("/embed", json={"input": "One."})).status_code == 200
            assert (await client.post("/documents", json={"documents": [{"text": "x"}]})).status_code == 503
    finally:
        await service.stop()


async def test_a_door_takes_documents_in_and_a_worker_ingests_them(tmp_path: Path, address: str) -> None:
    folder = tmp_path / "p"
    door = await build(settings(folder, address, role="door"))
    worker = await build(settings(folder, address, role="worker"))
    server = GrpcServer("127.0.0.1:0", worker.add_rpc, max_message_mb=16, drain_s=1)
    port = await server.start()
    doors = create_app("preprocess", [door.router], checks=door.checks)
    workers = create_app("preprocess", [worker.router], checks=worker.checks)
    try:
        async with (
            httpx.AsyncClient(transport=httpx.ASGITransport(doors), base_url="http://test") as client,
            httpx.AsyncClient(transport=httpx.ASGITransport(workers), base_url="http://test") as beside,
        ):
            await door.start()
            accepted = await client.post("/documents", json={"documents": [{"id": "a", "text": "One."}]})
            job = accepted.headers["location"]
            assert (await client.get(job)).json()["state"] == "queued"
            assert (await beside.get("/readyz")).status_code == 503
            await worker.start()
            assert (await beside.get("/readyz")).json()["checks"] == {
                "embedder": "ok",
                "retriever": "ok",
                "queue": "ok",
            }
            assert "event: done" in (await client.get(f"{job}/events")).text
            assert (await client.get("/documents/a")).status_code == 200
            assert (await beside.get("/documents")).status_code == 404
            assert (await beside.post("/embed", json={"input": "One."})).status_code == 404
        figures = (await metrics.page())[0].decode()
        assert 'ragline_queue_depth{queue="ingest"} 0.0' in figures
        assert 'ragline_documents_ended_total{state="done"}' in figures
        async with channel(f"127.0.0.1:{port}", max_message_mb=16) as wire:
            embed = preprocess_pb2_grpc.PreprocessStub(wire).Embed
            with pytest.raises(Unavailable):
                await call(embed, pb.EmbedRequest(texts=["One."]), timeout_s=10)
    finally:
        await server.stop()
        await worker.stop()
        await door.stop()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"embedder": "nothing"}, "nothing"),
        ({"embedder_options": {"size": 3}}, "size"),
        ({"broker_url": "nats://x"}, "nats"),
        ({"jobs_url": "nowhere://x"}, "nowhere"),
        ({"cache_url": "nowhere://"}, "nowhere"),
        ({"blob_url": "nowhere://x"}, "nowhere"),
    ],
)
async def test_a_bad_setting_stops_the_start(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        await build(settings(tmp_path, "127.0.0.1:1", **changes))
