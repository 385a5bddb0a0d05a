"""Starts preprocess: reads its settings and wires its parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import grpc
import structlog
from fastapi import APIRouter
from threadpoolctl import threadpool_limits

import ragline.broker
import ragline.cache
from ragline import backends, grpc_client, metrics, service, threads
from ragline.broker import Broker
from ragline.cache import Cache
from ragline.http.ready import Check
from ragline.models import ModelStore
from ragline.service import Service
from ragline.token_vectors import Layout
from ragline.v1 import preprocess_pb2, preprocess_pb2_grpc
from services.preprocess import api, api_collections, api_embed, api_openai, job_stores
from services.preprocess.blobs import Blobs
from services.preprocess.bodies import BodyLimits
from services.preprocess.cut import CutOptions
from services.preprocess.documents import Documents
from services.preprocess.embed import Embedding
from services.preprocess.embedder_changes import EmbedderChanges
from services.preprocess.embedders import Embedder
from services.preprocess.embedders import Parts as EmbedderParts
from services.preprocess.housekeeping import Housekeeping
from services.preprocess.ingest import Ingest, Parts
from services.preprocess.intake import Intake
from services.preprocess.limits import Limits
from services.preprocess.loaded import Loaded
from services.preprocess.messages import QUEUE
from services.preprocess.pipeline import pipeline_hash
from services.preprocess.record import Record
from services.preprocess.reembed import Reembedding
from services.preprocess.rpc import PreprocessRpc
from services.preprocess.sandbox import Sandbox
from services.preprocess.settings import Settings
from services.preprocess.worker import Worker

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Opened:
    """What is open while preprocess runs."""

    settings: Settings
    parts: Parts
    broker: Broker
    cache: Cache
    channel: grpc.aio.Channel


async def build(settings: Settings) -> Service:
    """Preprocess with its embedder loaded and its stores open; nothing is served yet. Raises SettingsError."""
    # numpy turns a few rows at a time here; with threads of its own below, each product would wait for busy cores.
    # PyTorch, where it embeds, is loaded later and keeps its own.
    threadpool_limits(limits=1, user_api="blas")
    opened = open_parts(settings)
    loaded = opened.parts.loaded
    worker = make_worker(opened) if settings.role != "door" else None
    limits = Limits(settings.max_inputs, settings.max_chars)
    serves = settings.role != "worker"
    closing = ExitStack()

    def add_rpc(server: grpc.aio.Server) -> Sequence[str]:
        if not serves:
            return []
        rpc = PreprocessRpc(loaded, limits, token_vectors=settings.token_vectors)
        preprocess_pb2_grpc.add_PreprocessServicer_to_server(rpc, server)
        return [preprocess_pb2.DESCRIPTOR.services_by_name["Preprocess"].full_name]

    async def start() -> None:
        closing.callback(metrics.watch_queue(QUEUE, opened.broker.depth))
        await loaded.start()
        if worker:
            await opened.parts.sandbox.start()
            await worker.start()

    async def stop() -> None:
        closing.close()
        if worker:
            await worker.stop()
        await close(opened)

    return Service(
        name="preprocess",
        router=door(opened, limits) if serves else APIRouter(),
        add_rpc=add_rpc,
        checks=checks(opened.parts, worker),
        start=start,
        stop=stop,
        dialects=api_openai.router(loaded, limits) if serves else APIRouter(),
    )


def checks(parts: Parts, worker: Worker | None) -> dict[str, Check]:
    """What must be there. A door without a worker needs its embedder only.

    It embeds while the queue or the retriever restarts, and says 503 to what needs these.
    """
    if worker is None:
        return {"embedder": parts.loaded.ready}
    return {"embedder": parts.loaded.ready, "retriever": parts.record.check, "queue": worker.check}


def door(opened: Opened, limits: Limits) -> APIRouter:
    """The REST routes."""
    settings, parts = opened.settings, opened.parts
    intake = make_intake(opened)
    documents = Documents(parts.record, parts.jobs, parts.blobs, parts.loaded, pipeline=parts.pipeline)
    routes = APIRouter()
    bodies = BodyLimits(settings.max_documents, settings.max_document_mb)
    routes.include_router(api.router(intake, documents, bodies))
    changes = EmbedderChanges(parts.record, parts.jobs, opened.broker, parts.loaded)
    routes.include_router(api_collections.router(changes))
    routes.include_router(api_embed.router(parts.embedding, limits))
    return routes


def make_intake(opened: Opened) -> Intake:
    """The use case of the door."""
    parts = opened.parts
    most = opened.settings.max_document_mb
    return Intake(parts.record, parts.jobs, parts.blobs, opened.broker, max_document_mb=most)


def open_parts(settings: Settings) -> Opened:
    """Load the embedder and open the stores."""
    folder = settings.data_dir.absolute()
    file = quote(str(folder))
    cache = ragline.cache.open(settings.cache_url or f"sqlite://{file}/cache.db", name="embeddings")
    broker = ragline.broker.open(
        settings.broker_url or f"sqlite://{file}/queue.db?max_attempts={settings.max_attempts}"
    )
    channel = grpc_client.channel(settings.retriever_address, max_message_mb=settings.max_message_mb)
    loaded = load_embedders(settings, cache)
    embedder = loaded.first.embedder
    options = cut_options(settings, embedder)
    parts = Parts(
        jobs=job_stores.open(settings.jobs_url or f"sqlite://{file}/jobs.db", ttl_s=settings.job_ttl_s),
        blobs=Blobs(settings.blob_url or f"file://{folder}/blobs"),
        record=Record(
            channel,
            timeout_s=settings.retriever_timeout_s,
            max_message_mb=settings.max_message_mb,
            wait_s=settings.retriever_wait_s,
        ),
        sandbox=Sandbox(
            options,
            processes=settings.parse_processes,
            timeout_s=settings.parse_timeout_s,
            memory_mb=settings.parse_memory_mb,
        ),
        loaded=loaded,
        pipeline=pipeline_hash(embedder.fingerprint, options.fingerprint()),
    )
    return Opened(settings, parts, broker, cache, channel)


def load_embedders(settings: Settings, cache: Cache) -> Loaded:
    """The embedders that the settings name; raises SettingsError."""
    first = load_embedder(settings, settings.embedder, settings.embedder_options)
    if not settings.next_embedder:
        return Loaded(embedding_of(settings, first, cache, "embedder"))
    following = load_embedder(settings, settings.next_embedder, settings.next_embedder_options)
    if following.fingerprint == first.fingerprint:
        log.warning("the next embedder is the first one; PREPROCESS_NEXT_EMBEDDER does nothing")
        return Loaded(embedding_of(settings, first, cache, "embedder"))
    return Loaded(
        embedding_of(settings, first, cache, "embedder"),
        embedding_of(settings, following, cache, "next embedder"),
    )


def load_embedder(settings: Settings, name: str, options: dict[str, Any]) -> Embedder:
    """An embedder by its name."""
    parts = EmbedderParts(ModelStore(settings.models_dir), settings.threads or threads.available())
    embedder: Embedder = backends.load("services.preprocess.embedders", name, parts, options)
    return embedder


def embedding_of(settings: Settings, embedder: Embedder, cache: Cache, name: str) -> Embedding:
    """An embedder behind a queue of its own."""
    return Embedding(
        embedder,
        cache,
        max_batch_tokens=settings.max_batch_tokens,
        max_queue_tokens=settings.max_queue_tokens,
        layout=Layout(settings.token_bits, settings.token_dimensions),
        name=name,
    )


def cut_options(settings: Settings, embedder: Embedder) -> CutOptions:
    """How documents are cut for this embedder."""
    return CutOptions(
        tokenizer_file=embedder.tokenizer_file,
        chunker=settings.chunker,
        max_tokens=settings.max_tokens,
        overlap_tokens=settings.overlap_tokens,
        max_text_chars=settings.max_text_chars,
        max_passages=settings.max_passages,
        chunker_options=settings.chunker_options,
    )


def make_worker(opened: Opened) -> Worker:
    """The worker over the use case."""
    settings, parts = opened.settings, opened.parts
    return Worker(
        opened.broker,
        Ingest(parts, token_vectors=settings.token_vectors, concurrency=settings.part_concurrency),
        Reembedding(parts, token_vectors=settings.token_vectors, concurrency=settings.part_concurrency),
        Housekeeping(
            parts,
            opened.broker,
            hold_s=settings.hold_s,
            job_ttl_s=settings.job_ttl_s,
            orphan_age_s=settings.orphan_age_s,
        ),
        concurrency=settings.worker_concurrency,
        max_attempts=settings.max_attempts,
        hold_s=settings.hold_s,
    )


async def close(opened: Opened) -> None:
    """End the background work and let go of files and connections."""
    await opened.broker.close()
    await opened.parts.sandbox.close()
    await opened.parts.loaded.close()
    await opened.channel.close()
    await opened.cache.close()
    await opened.parts.jobs.close()


def main() -> None:
    """Serve until a signal says stop."""
    service.run(build, Settings)


if __name__ == "__main__":
    main()
