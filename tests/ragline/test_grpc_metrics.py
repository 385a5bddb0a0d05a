"""gRPC calls are counted by how they ended."""

import asyncio
from typing import Any

import grpc
import pytest

from ragline import metrics
from ragline.errors import NotFound
from ragline.v1.generator_pb2 import AnswerRequest
from ragline.v1.generator_pb2_grpc import GeneratorStub
from ragline.v1.reranker_pb2 import RerankRequest
from ragline.v1.reranker_pb2_grpc import RerankerStub
from tests.ragline.rpc import server

RERANK, ANSWER = "/ragline.v1.Reranker/Rerank", "/ragline.v1.Generator/Answer"


async def samples(name: str, method: str) -> dict[str, float]:
    """The samples of a metric for one method, by status."""
    await metrics.page()
    return {
        sample.labels.get("status", ""): sample.value
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
        if sample.name == name and sample.labels.get("method") == method
    }


async def test_calls_are_counted_by_method_and_status() -> None:
    started, waiting = asyncio.Event(), asyncio.Event()

    async def act(query: str, rpc: Any) -> str:
        if query == "none":
            raise NotFound("There is no such thing.")
        if query == "crash":
            raise RuntimeError("broken")
        if query == "wait":
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                waiting.set()
        return query

    before = await samples("ragline_grpc_requests_total", RERANK)
    answered = await samples("ragline_grpc_requests_total", ANSWER)
    serving = server(act)
    port = await serving.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = RerankerStub(channel)
        for query in ("a", "b"):
            await stub.Rerank(RerankRequest(query=query))
        for query in ("none", "crash"):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Rerank(RerankRequest(query=query))
        call = stub.Rerank(RerankRequest(query="wait"))
        await started.wait()
        call.cancel()
        await waiting.wait()
        with pytest.raises(asyncio.CancelledError):
            await call
        async for _ in GeneratorStub(channel).Answer(AnswerRequest(query="abc")):
            pass
    await serving.stop(0)
    after = await samples("ragline_grpc_requests_total", RERANK)
    grown = {
        status: value - before.get(status, 0) for status, value in after.items() if value != before.get(status, 0)
    }
    assert grown == {"OK": 2, "NOT_FOUND": 1, "INTERNAL": 1, "CANCELLED": 1}
    assert (await samples("ragline_grpc_requests_total", ANSWER))["OK"] == answered.get("OK", 0) + 1
    assert (await samples("ragline_grpc_request_seconds_count", ANSWER))[""] >= 1
