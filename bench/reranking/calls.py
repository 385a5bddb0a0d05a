"""The whole reranker call over gRPC, as the generator makes it: kept token vectors, and with nothing kept."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from bench.report import Row
from bench.reranking.scoring import PASSAGES, PIECES, QUERY_WORDS
from bench.texts import texts
from ragline.v1 import preprocess_pb2 as preprocess
from ragline.v1 import preprocess_pb2_grpc, reranker_pb2, reranker_pb2_grpc
from tests.suite import Suite

CALLS = 200
COLD = 5
CLIENTS = 16
ENVIRONMENT = {"RERANKER_SCORES_URL": ""}  # or a repeated pair would not be scored at all


def measure(folder: Path) -> list[Row]:
    """p50 of one client, calls a second of 16, and what a call costs that finds nothing kept."""
    with Suite(folder, ENVIRONMENT) as suite:
        return asyncio.run(drive(suite.environment))


async def drive(places: dict[str, str]) -> list[Row]:
    """The figures, from a suite that runs."""
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{places['RERANKER_GRPC_PORT']}") as reranker,
        grpc.aio.insecure_channel(f"127.0.0.1:{places['PREPROCESS_GRPC_PORT']}") as embedder,
    ):
        rerank = reranker_pb2_grpc.RerankerStub(reranker).Rerank
        embed = preprocess_pb2_grpc.PreprocessStub(embedder).Embed
        cold = [await cold_call(rerank, embed, number) for number in range(COLD)]
        passages = texts(PASSAGES, PIECES, seed=100)
        single = []
        for query in texts(CALLS, QUERY_WORDS, seed=200):
            await embedded(embed, [query])
            single.append(await timed_call(rerank, query, passages))
        many = texts(4 * CALLS, QUERY_WORDS, seed=201)
        await embedded(embed, many)
        per_second, p95 = await crowd(rerank, many, passages)
    p50 = statistics.median(single)
    words = f"{PASSAGES} passages of {PIECES} word pieces"
    return [
        Row("rerank: ms of a gRPC call, 1 client", p50, "≤ 6", p50 <= 6, f"{words}, token vectors kept, p50"),
        Row(f"rerank: calls/s of {CLIENTS} clients", per_second, "", None, f"{words}, kept; p95 {p95:.0f} ms"),
        Row("rerank: ms of a call, nothing kept", statistics.median(cold), "", None, words),
    ]


async def embedded(embed: Any, queries: Sequence[str]) -> None:
    """Have the queries embedded, as search does just before a reranking."""
    request = preprocess.EmbedRequest(texts=queries, kind=preprocess.EmbedRequest.KIND_QUERY)
    await embed(request)
    await asyncio.sleep(0.01)  # what is kept of a query is not waited for


async def cold_call(rerank: Any, embed: Any, number: int) -> float:
    """Milliseconds of a call whose passages nobody has met."""
    [query] = texts(1, QUERY_WORDS, seed=300 + number)
    await embedded(embed, [query])
    return await timed_call(rerank, query, texts(PASSAGES, PIECES, seed=100 - number))


async def timed_call(rerank: Any, query: str, passages: Sequence[str]) -> float:
    """Milliseconds of one call."""
    request = asked(query, passages)
    began = time.perf_counter()
    response = await rerank(request)
    took = (time.perf_counter() - began) * 1000
    if len(response.scores) != len(passages) or response.degraded:
        raise RuntimeError(f"{len(response.scores)} scores, degraded {list(response.degraded)}")
    return took


async def crowd(rerank: Any, queries: Sequence[str], passages: Sequence[str]) -> tuple[float, float]:
    """Calls a second and the 95th percentile of their milliseconds, 16 at a time."""
    waiting = iter(queries)
    took: list[float] = []

    async def client() -> None:
        took.extend([await timed_call(rerank, query, passages) for query in waiting])

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return len(took) / (time.perf_counter() - began), statistics.quantiles(took, n=20)[-1]


def asked(query: str, passages: Sequence[str]) -> reranker_pb2.RerankRequest:
    """A request as the generator sends it, with the first stage's scores."""
    candidates = [
        reranker_pb2.Candidate(text=text, dense_score=0.5 - n / 200, sparse_score=20.0 - n / 10)
        for n, text in enumerate(passages)
    ]
    return reranker_pb2.RerankRequest(query=query, candidates=candidates)
