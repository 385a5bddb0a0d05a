"""Two retrievers as processes over one Milvus and one Redis: each finds what the other writes, and outlives it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ragline.errors import Cancelled, Unavailable
from ragline.grpc_client import call, channel
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from tests.retriever.library import request
from tests.servers.milvus import MilvusServer
from tests.servers.redis import RedisServer
from tests.stack.process import ServiceProcess
from tests.suite import free_ports


class Retriever(ServiceProcess):
    """``python -m services.retriever`` with ``RETRIEVER_STORE=milvus``."""

    def __init__(self, name: str, folder: Path, settings: dict[str, str]) -> None:
        port, grpc = free_ports(2)
        self.address = f"127.0.0.1:{grpc}"
        own = {
            "RETRIEVER_DATA_DIR": str(folder / name),
            "RETRIEVER_PORT": str(port),
            "RETRIEVER_GRPC_PORT": str(grpc),
            "RETRIEVER_STORE": "milvus",
        }
        super().__init__(name, "retriever", folder, port, {**os.environ, **own, **settings})


@pytest.fixture
def redis(redis_installed: None, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def pair(milvus_server: MilvusServer, redis: RedisServer, tmp_path: Path) -> Iterator[list[Retriever]]:
    """Two of them, ready."""
    name = f"p{uuid.uuid4().hex[:12]}"
    settings = {
        "RETRIEVER_MILVUS_URL": milvus_server.url,
        "RETRIEVER_STATE_URL": f"{redis.url}/0",
        "RETRIEVER_STORE_OPTIONS": f'{{"name": "{name}", "index": "FLAT", "partitions": 4, "lease_s": 2}}',
    }
    made = [Retriever(f"retriever{n}", tmp_path, settings) for n in range(2)]
    for each in made:
        each.start()
    for each in made:
        each.wait_for(200)
    yield made
    for each in made:
        each.kill()


if TYPE_CHECKING:
    Stub = retriever_pb2_grpc.RetrieverAsyncStub


@pytest.fixture
async def stubs(pair: list[Retriever]) -> AsyncIterator[list[Stub]]:
    """Who calls each."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel(each.address, max_message_mb=16)) for each in pair]
        yield [retriever_pb2_grpc.RetrieverStub(each) for each in channels]


def asked(query: str, generation: int = 0) -> pb.SearchRequest:
    """A search by words."""
    return pb.SearchRequest(queries=[query], mode=pb.MODE_SPARSE, top_k=50, wait_for=generation)


async def texts(stub: Stub, query: str, generation: int = 0) -> list[str]:
    """What it finds."""
    found = await call(stub.Search, asked(query, generation), timeout_s=20)
    assert found.generation >= generation
    return [hit.passage.text for hit in found.results[0].hits]


async def test_a_write_through_one_is_found_through_the_other(stubs: list[Stub]) -> None:
    for n in range(4):
        writer, reader = stubs[n % 2], stubs[1 - n % 2]
        first = await call(writer.Reserve, pb.ReserveRequest(count=2), timeout_s=20)
        done = await call(writer.Upsert, request("d", [f"Ferry number {n}."]), timeout_s=20)
        assert await texts(reader, "ferry", done.generation) == [f"Ferry number {n}."]
        stale = request("d", ["Ferry of yesterday."])
        stale.seq = first.first
        assert (await call(reader.Upsert, stale, timeout_s=20)).stale
    gone = await call(stubs[0].Delete, pb.DeleteRequest(document_id="d"), timeout_s=20)
    assert await texts(stubs[1], "ferry", gone.generation) == []


async def test_one_is_killed_while_it_writes_and_the_other_goes_on(
    pair: list[Retriever], stubs: list[Stub]
) -> None:
    old = [f"Ferry old {i}." for i in range(3)]
    new = [f"Ferry new {i}." for i in range(5)]
    for n in range(8):
        await call(stubs[1].Upsert, request(f"d{n}", old), timeout_s=20)
    writes = [asyncio.create_task(whether(stubs[0], f"d{n}", new)) for n in range(8)]
    await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
    pair[0].kill()
    acknowledged = await asyncio.gather(*writes)
    await call(stubs[1].Upsert, request("after", ["Harbour."]), timeout_s=30)
    for n, done in enumerate(acknowledged):
        kept = await call(stubs[1].GetDocument, pb.GetDocumentRequest(document_id=f"d{n}"), timeout_s=20)
        held = [passage.text for passage in kept.passages]
        assert held == new if done else held in (old, new)
        found = await call(stubs[1].Search, only(f"d{n}"), timeout_s=20)
        assert sorted(hit.passage.text for hit in found.results[0].hits) == held
    assert [finding async for finding in stubs[1].Verify(pb.VerifyRequest())] == []


def only(name: str) -> pb.SearchRequest:
    """A search in one document."""
    found = asked("ferry")
    found.filter_json = f'{{"document_id": "{name}"}}'
    return found


async def whether(stub: Stub, name: str, passages: list[str]) -> bool:
    """Whether a write was acknowledged."""
    try:
        await call(stub.Upsert, request(name, passages), timeout_s=30)
    except (Unavailable, Cancelled):
        return False
    return True


async def test_readiness_follows_redis(pair: list[Retriever], stubs: list[Stub], redis: RedisServer) -> None:
    await call(stubs[0].Upsert, request("d", ["Ferry."]), timeout_s=20)
    assert await texts(stubs[0], "ferry") == ["Ferry."]
    redis.kill()
    assert "redis" in (await asyncio.to_thread(pair[0].wait_for, 503)).text
    assert await texts(stubs[0], "ferry") == ["Ferry."], "what is known is searched on"
    with pytest.raises(Unavailable):
        await call(stubs[0].Upsert, request("d", ["Train."]), timeout_s=20)
    redis.start()
    await asyncio.to_thread(pair[0].wait_for, 200)
    assert await texts(stubs[0], "ferry") == ["Ferry."]
