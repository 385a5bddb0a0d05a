"""A retriever of its own over what was filled: how long until it is ready, what it answers, what it holds then."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from bench.retrieval.corpus import Corpus
from bench.retrieval.documents import FINGERPRINT, pieces
from bench.retrieval.hosting import memory_mb
from bench.retrieval.service import KEY
from ragline.grpc_client import call, channel
from ragline.grpc_server import GrpcServer
from ragline.v1 import preprocess_pb2, preprocess_pb2_grpc, retriever_pb2, retriever_pb2_grpc
from tests.stack.process import ServiceProcess
from tests.suite import free_ports

ASKED = 1000
MESSAGE_MB = 64


@dataclass(frozen=True)
class Started:
    """Seconds until ready, megabytes then and after queries (own, and with mapped files), p50 over gRPC in ms."""

    ready_s: float
    ready_mb: float
    own_mb: float
    whole_mb: float
    grpc_ms: float


class Known(preprocess_pb2_grpc.PreprocessServicer):
    """A preprocess that knows the vectors of the corpus's queries, and takes no time for them."""

    def __init__(self, corpus: Corpus) -> None:
        self.vectors = dict(zip(corpus.queries, corpus.query_vectors, strict=True))

    async def Embed(  # noqa: N802 - named by the proto
        self, request: preprocess_pb2.EmbedRequest, context: Any
    ) -> preprocess_pb2.EmbedResponse:
        """The vectors of known texts."""
        vectors = np.stack([self.vectors[text] for text in request.texts])
        return preprocess_pb2.EmbedResponse(
            vectors=vectors.astype("<f4").tobytes(),
            dimensions=vectors.shape[1],
            model=FINGERPRINT,
            fingerprint=FINGERPRINT,
            token_ids=[preprocess_pb2.TokenIds(ids=pieces(text).tolist()) for text in request.texts],
        )

    def add(self, server: grpc.aio.Server) -> Sequence[str]:
        """Register it."""
        preprocess_pb2_grpc.add_PreprocessServicer_to_server(self, server)
        return [preprocess_pb2.DESCRIPTOR.services_by_name["Preprocess"].full_name]


async def measure(corpus: Corpus, data: Path, logs: Path) -> Started:
    """Start a retriever over ``data``, ask, and read its memory."""
    server = GrpcServer("127.0.0.1:0", Known(corpus).add, max_message_mb=MESSAGE_MB, drain_s=0)
    preprocess = await server.start()
    port, rpc = free_ports(2)
    environment = {
        **os.environ,
        "RETRIEVER_DATA_DIR": str(data),
        "RETRIEVER_PORT": str(port),
        "RETRIEVER_GRPC_PORT": str(rpc),
        "RETRIEVER_PREPROCESS_ADDRESS": f"127.0.0.1:{preprocess}",
        "RETRIEVER_CACHE_URL": "",
    }
    process = ServiceProcess("retriever", "retriever", logs, port, environment)
    try:
        began = time.perf_counter()
        process.start()
        await asyncio.to_thread(process.wait_for, 200)
        ready_s = time.perf_counter() - began
        assert process.process is not None
        pid = process.process.pid
        ready_mb = memory_mb(pid, "VmRSS")
        grpc_ms = statistics.median(await asked(corpus, f"127.0.0.1:{rpc}"))
        return Started(ready_s, ready_mb, memory_mb(pid), memory_mb(pid, "VmRSS"), grpc_ms)
    finally:
        process.kill()
        await server.stop()


async def asked(corpus: Corpus, address: str) -> list[float]:
    """Milliseconds of hybrid searches over gRPC, one after the other."""
    times = []
    async with channel(address, max_message_mb=MESSAGE_MB) as opened:
        stub = retriever_pb2_grpc.RetrieverStub(opened)
        for n in range(ASKED):
            request = retriever_pb2.SearchRequest(
                tenant=KEY.tenant,
                collection=KEY.collection,
                queries=[corpus.queries[n % len(corpus.queries)]],
                top_k=10,
            )
            began = time.perf_counter()
            answer = await call(stub.Search, request, timeout_s=60)
            times.append((time.perf_counter() - began) * 1000)
            if answer.degraded:
                raise RuntimeError(f"the search went without {answer.degraded}")
    return times
