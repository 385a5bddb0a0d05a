"""Two retrievers as processes over one Milvus and one Redis: each finds what the other writes, and outlives it."""

from __future__ import annotations

import asyncio
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
from tests.retriever.backups import document, fill, in_thread, kept
from tests.retriever.library import request
from tests.retriever.process import Retriever
from tests.servers.milvus import MilvusServer
from tests.servers.redis import RedisServer


@pytest.fixture(scope="module")
def redis(redis_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def replicas(
    milvus_server: MilvusServer, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Retriever]]:
    """Two of them, not started; each test has a tenant of its own."""
    name = f"p{uuid.uuid4().hex[:12]}"
    settings = {
        "RETRIEVER_STORE": "milvus",
        "RETRIEVER_MILVUS_URL": milvus_server.url,
        "RETRIEVER_STATE_URL": f"{redis.url}/0",
        "RETRIEVER_STORE_OPTIONS": f'{{"name": "{name}", "index": "FLAT", "partitions": 4, "lease_s": 2}}',
    }
    folder = tmp_path_factory.mktemp("retrievers")
    made = [Retriever(f"retriever{n}", folder, **settings) for n in range(2)]
    yield made
    for each in made:
        each.kill()


@pytest.fixture
def pair(replicas: list[Retriever]) -> list[Retriever]:
    """Both, ready; what the test before killed is started again."""
    for each in replicas:
        if not each.running:
            each.start()
    for each in replicas:
        each.wait_for(200)
    return replicas


if TYPE_CHECKING:
    Stub = retriever_pb2_grpc.RetrieverAsyncStub


@pytest.fixture
async def stubs(pair: list[Retriever]) -> AsyncIterator[list[Stub]]:
    """Who calls each."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel(each.address, max_message_mb=16)) for each in pair]
        yield [retriever_pb2_grpc.RetrieverStub(each) for each in channels]


def ferry(tenant: str, name: str, passages: list[str], seq: int = 0) -> pb.UpsertRequest:
    """A write of a tenant's document."""
    made = request(name, passages)
    made.tenant, made.seq = tenant, seq
    return made


def asked(tenant: str, generation: int = 0) -> pb.SearchRequest:
    """A search by words."""
    return pb.SearchRequest(tenant=tenant, queries=["ferry"], mode=pb.MODE_SPARSE, top_k=50, wait_for=generation)


async def texts(stub: Stub, tenant: str, generation: int = 0) -> list[str]:
    """What it finds."""
    found = await call(stub.Search, asked(tenant, generation), timeout_s=20)
    assert found.generation >= generation
    return [hit.passage.text for hit in found.results[0].hits]


async def test_a_write_through_one_is_found_through_the_other(stubs: list[Stub]) -> None:
    for n in range(4):
        writer, reader = stubs[n % 2], stubs[1 - n % 2]
        first = await call(writer.Reserve, pb.ReserveRequest(count=2), timeout_s=20)
        done = await call(writer.Upsert, ferry("a", "d", [f"Ferry number {n}."]), timeout_s=20)
        assert await texts(reader, "a", done.generation) == [f"Ferry number {n}."]
        stale = ferry("a", "d", ["Ferry of yesterday."], first.first)
        assert (await call(reader.Upsert, stale, timeout_s=20)).stale
    gone = await call(stubs[0].Delete, pb.DeleteRequest(tenant="a", document_id="d"), timeout_s=20)
    assert await texts(stubs[1], "a", gone.generation) == []


async def test_one_is_killed_while_it_writes_and_the_other_goes_on(
    pair: list[Retriever], stubs: list[Stub]
) -> None:
    old = [f"Ferry old {i}." for i in range(3)]
    new = [f"Ferry new {i}." for i in range(5)]
    for n in range(8):
        await call(stubs[1].Upsert, ferry("b", f"d{n}", old), timeout_s=20)
    writes = [asyncio.create_task(whether(stubs[0], f"d{n}", new)) for n in range(8)]
    await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
    pair[0].kill()
    acknowledged = await asyncio.gather(*writes)
    await call(stubs[1].Upsert, ferry("b", "after", ["Harbour."]), timeout_s=30)
    for n, done in enumerate(acknowledged):
        kept = await call(
            stubs[1].GetDocument, pb.GetDocumentRequest(tenant="b", document_id=f"d{n}"), timeout_s=20
        )
        held = [passage.text for passage in kept.passages]
        assert held == new if done else held in (old, new)
        found = await call(stubs[1].Search, only(f"d{n}"), timeout_s=20)
        assert sorted(hit.passage.text for hit in found.results[0].hits) == held
    assert [finding async for finding in stubs[1].Verify(pb.VerifyRequest())] == []


def only(name: str) -> pb.SearchRequest:
    """A search in one document."""
    found = asked("b")
    found.filter_json = f'{{"document_id": "{name}"}}'
    return found


async def whether(stub: Stub, name: str, passages: list[str]) -> bool:
    """Whether a write was acknowledged."""
    try:
        await call(stub.Upsert, ferry("b", name, passages), timeout_s=30)
    except (Unavailable, Cancelled):
        return False
    return True


async def test_readiness_follows_redis(pair: list[Retriever], stubs: list[Stub], redis: RedisServer) -> None:
    await call(stubs[0].Upsert, ferry("c", "d", ["Ferry."]), timeout_s=20)
    assert await texts(stubs[0], "c") == ["Ferry."]
    redis.kill()
    assert "redis" in (await asyncio.to_thread(pair[0].wait_for, 503)).text
    assert await texts(stubs[0], "c") == ["Ferry."], "what is known is searched on"
    with pytest.raises(Unavailable):
        await call(stubs[0].Upsert, ferry("c", "d", ["Train."]), timeout_s=20)
    redis.start()
    await asyncio.to_thread(pair[0].wait_for, 200)
    assert await texts(stubs[0], "c") == ["Ferry."]


async def test_a_collection_moves_to_milvus_and_back(pair: list[Retriever], tmp_path: Path) -> None:
    embedded, milvus = Retriever("embedded", tmp_path / "embedded"), pair[0]
    embedded.folder.parent.mkdir(parents=True)
    embedded.start()
    try:
        await asyncio.to_thread(embedded.wait_for, 200)
        await fill(embedded, *(document(f"d{n}", n) for n in range(7)), document("x", tenant="t", collection="c"))
        await fill(milvus, document("d1", 9), document("old"))
        before = await kept(embedded)
        status, said = await in_thread("migrate", "--from", embedded.address, "--to", milvus.address)
        assert status == 0, said
        assert await kept(pair[1]) == before
        assert (await kept(milvus, "c", "t")).keys() == {"x"}
        await fill(pair[1], document("d2", 5), document("new"))
        after = await kept(milvus)
        status, said = await in_thread("migrate", "--from", milvus.address, "--to", embedded.address)
        assert status == 0, said
        assert await kept(embedded) == after != before
    finally:
        embedded.kill()
