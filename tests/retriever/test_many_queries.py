"""A thousand queries in one request: few batches of each engine, equal ones once, and an end when nobody waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

import ragline.cache
from ragline import context
from ragline.errors import TimedOut
from ragline.grpc_client import call, channel
from ragline.v1 import preprocess_pb2, preprocess_pb2_grpc, retriever_pb2_grpc
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.embed import Embedding
from services.preprocess.embedders import Embedded
from services.preprocess.embedders.hashing import Hashing
from services.preprocess.limits import Limits as EmbedLimits
from services.preprocess.loaded import Loaded
from services.preprocess.rpc import PreprocessRpc
from services.retriever import finding, gathering, rpc
from services.retriever.asking import Request
from services.retriever.finding import DENSE_CHUNK, SPARSE_CHUNK
from services.retriever.limits import Limits
from services.retriever.search import Search
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import Make, serving
from tests.retriever.library import fill
from tests.retriever.parts import KEY

ASKED = [f"message number{n % 700} of the ferry" for n in range(1000)]
DISTINCT = 700


@dataclass
class Counts:
    """How many texts came in each call of preprocess, in each run of its model and in each scan of the vectors."""

    calls: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    scans: list[int] = field(default_factory=list)


class CountedModel(Hashing):
    """The embedder of the tests, which counts."""

    def __init__(self, counts: Counts) -> None:
        super().__init__(64)
        self.counts = counts

    def embed(self, texts: Sequence[str], *, token_vectors: bool = False) -> Embedded:
        self.counts.runs.append(len(texts))
        return super().embed(texts, token_vectors=token_vectors)


class CountedRpc(PreprocessRpc):
    """The door of preprocess, which counts."""

    counts: Counts

    async def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.counts.calls.append(len(request.texts))
        return await super().Embed(request, context)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    made = Counts()
    scan = gathering.scan

    def counted(batch: list[gathering.Waiting]) -> list[Any]:
        made.scans.append(sum(len(each.vectors) for each in batch))
        return scan(batch)

    monkeypatch.setattr(gathering, "scan", counted)
    return made


@pytest.fixture
async def preprocess(stack: AsyncExitStack, counts: Counts) -> str:
    """The real door of preprocess over the model that counts."""
    embedding = Embedding(CountedModel(counts), ragline.cache.open("memory://"))
    await embedding.start()
    counts.runs.clear()  # it warms up
    stack.push_async_callback(embedding.close)
    door = CountedRpc(Loaded(embedding), EmbedLimits())
    door.counts = counts

    def add(server: grpc.aio.Server) -> Sequence[str]:
        preprocess_pb2_grpc.add_PreprocessServicer_to_server(door, server)
        return [preprocess_pb2.DESCRIPTOR.services_by_name["Preprocess"].full_name]

    return await serving(stack, add)


async def test_a_thousand_queries_are_few_batches(
    stack: AsyncExitStack, store: EmbeddedStore, search: Search, counts: Counts
) -> None:
    await fill(store)
    address = await serving(stack, rpc.add(search, store, Limits()))
    opened: grpc.aio.Channel = await stack.enter_async_context(channel(address, max_message_mb=16))
    stub = retriever_pb2_grpc.RetrieverStub(opened)
    found = await call(stub.Search, pb.SearchRequest(queries=ASKED, top_k=3), timeout_s=60)
    assert len(found.results) == len(ASKED)
    assert found.degraded == []
    assert all(len(result.hits) == 3 for result in found.results)
    for n in range(DISTINCT, len(ASKED)):
        assert found.results[n] == found.results[n - DISTINCT]
    assert counts.calls == [DISTINCT]
    assert sum(counts.runs) == sum(counts.scans) == DISTINCT
    assert len(counts.runs) <= 10
    assert len(counts.scans) <= -(-DISTINCT // DENSE_CHUNK)


async def test_a_deadline_ends_a_batch_in_the_middle(
    store: EmbeddedStore, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    chunks: list[int] = []

    def slow(view: Any, queries: Sequence[str], *rest: Any) -> list[Any]:
        chunks.append(len(queries))
        time.sleep(0.1)
        return []

    monkeypatch.setattr(finding, "matches", slow)
    with context.bind("late", 0.3), pytest.raises(TimedOut):
        await search(Request(KEY, ASKED, 3, "sparse"))
    assert 0 < len(chunks) < DISTINCT // SPARSE_CHUNK
    assert search.inflight == 0


async def test_a_batch_ends_when_its_caller_leaves(
    store: EmbeddedStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    search = make(threads=1)
    begun, go_on = threading.Event(), threading.Event()
    chunks: list[int] = []

    def gated(view: Any, queries: Sequence[str], *rest: Any) -> list[Any]:
        chunks.append(len(queries))
        begun.set()
        assert go_on.wait(30)
        return []

    monkeypatch.setattr(finding, "matches", gated)
    task = asyncio.create_task(search(Request(KEY, ASKED, 3, "sparse")))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await search.compute(lambda: None)
    assert chunks == [SPARSE_CHUNK]
    assert search.inflight == 0
