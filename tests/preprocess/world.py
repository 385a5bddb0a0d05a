"""Preprocess with everything real around it in one process: a retriever over gRPC, SQLite files, the sandbox."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ragline.broker import NewMessage, Poison
from ragline.grpc_server import GrpcServer
from ragline.http import create_app
from services.preprocess import api, api_collections
from services.preprocess.__main__ import Opened, close, make_intake, make_worker, open_parts
from services.preprocess.bodies import BodyLimits
from services.preprocess.documents import Documents
from services.preprocess.embedder_changes import EmbedderChanges
from services.preprocess.hold import Hold
from services.preprocess.ingest import Ingest, Parts
from services.preprocess.intake import Intake
from services.preprocess.jobs import Work
from services.preprocess.messages import QUEUE, unpacked
from services.preprocess.settings import Settings
from services.preprocess.worker import Worker
from services.retriever.__main__ import build as build_retriever
from services.retriever.settings import Settings as RetrieverSettings


@dataclass
class World:
    """The parts, and a client of the REST door. The worker starts when a test says so.

    ``published`` holds what was put into the queue, by job and number, for tests that hand messages over by hand.
    """

    opened: Opened
    parts: Parts
    intake: Intake
    ingest: Ingest
    worker: Worker
    documents: Documents
    client: httpx.AsyncClient
    published: dict[tuple[str, int], Work] = field(default_factory=dict)

    async def run(self, job_id: str, n: int = 0, hold_s: float = 600.0) -> None:
        """Ingest a document as if its message had come."""
        await self.ingest.run(self.published[job_id, n], Hold(hold_s))

    async def send(self, *texts: tuple[str, str], collection: str = "default") -> str:
        """Send texts as (id, text); returns the job's id."""
        documents = [{"id": name, "text": text} for name, text in texts]
        answer = await self.client.post("/documents", json={"collection": collection, "documents": documents})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async def send_files(self, *files: tuple[str, bytes], **fields: Any) -> str:
        """Send files as (name, bytes); returns the job's id."""
        answer = await self.client.post("/documents", files=[("files", file) for file in files], data=fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended."""
        async for job in self.parts.jobs.watch("default", job_id):
            if job.ended:
                return job.view()
        raise AssertionError("a job's news end with its end")

    async def ids(self, collection: str = "default") -> list[str]:
        """The ids of the documents that the collection holds."""
        answer = await self.client.get("/documents", params={"collection": collection, "limit": 1000})
        return [document["id"] for document in answer.json()["documents"]]


@asynccontextmanager
async def retriever(folder: Path) -> AsyncIterator[str]:
    """A retriever on a free port; yields its address."""
    service = await build_retriever(RetrieverSettings(data_dir=folder))
    server = GrpcServer("127.0.0.1:0", service.add_rpc, max_message_mb=128, drain_s=1)
    port = await server.start()
    await service.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop()
        await service.stop()


def settings(folder: Path, address: str, **changes: Any) -> Settings:
    """Settings that need no weights and retry at once."""
    values: dict[str, Any] = {
        "data_dir": folder,
        "retriever_address": address,
        "embedder": "hashing",
        "broker_url": f"sqlite://{folder}/queue.db?max_attempts=5&retry_s=0.01&max_retry_s=0.02",
        "max_attempts": 3,
        "retriever_wait_s": 0.2,
        "orphan_age_s": 0,
        **changes,
    }
    return Settings(**values)


@asynccontextmanager
async def world(folder: Path, address: str, **changes: Any) -> AsyncIterator[World]:
    """Preprocess over ``folder``, its worker not started."""
    opened = open_parts(settings(folder, address, **changes))
    parts = opened.parts
    published = listen_in(opened)
    intake, worker = make_intake(opened), make_worker(opened)
    documents = Documents(parts.record, parts.jobs, parts.blobs, parts.loaded, pipeline=parts.pipeline)
    limits = BodyLimits(opened.settings.max_documents, opened.settings.max_document_mb)
    embedders = EmbedderChanges(parts.record, parts.jobs, opened.broker, parts.loaded)
    routes = [api.router(intake, documents, limits), api_collections.router(embedders)]
    app = create_app("preprocess", routes, checks={})
    async with AsyncExitStack() as closing:
        closing.push_async_callback(close, opened)
        await parts.loaded.start()
        await parts.sandbox.start()
        closing.push_async_callback(worker.stop)
        transport = httpx.ASGITransport(app)
        client = await closing.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))
        yield World(opened, parts, intake, worker.ingest, worker, documents, client, published)


def listen_in(opened: Opened) -> dict[tuple[str, int], Work]:
    """What is published from now on, by job and number."""
    publish, published = opened.broker.publish, dict[tuple[str, int], Work]()

    async def noted(queue: str, messages: Sequence[NewMessage]) -> None:
        await publish(queue, messages)
        if queue == QUEUE:
            for message in messages:
                with contextlib.suppress(Poison):
                    work, _ = unpacked(message.body)
                    published[work.job.id, work.n] = work

    opened.broker.publish = noted  # type: ignore[method-assign]  # only to look on
    return published
