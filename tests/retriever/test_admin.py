"""The door for those who look after a retriever: what there is, how many calls at once, who takes nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest

from ragline.errors import Overloaded, TimedOut
from ragline.grpc_client import call, channel, stream
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from services.retriever.limits import Limits
from services.retriever.rpc import NAME, RetrieverRpc
from services.retriever.search import Search
from services.retriever.stores import Key
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import serving
from tests.retriever.parts import KEY, content


@pytest.fixture
def door(search: Search, store: EmbeddedStore) -> RetrieverRpc:
    return RetrieverRpc(search, store, Limits())


@pytest.fixture
async def stub(stack: AsyncExitStack, door: RetrieverRpc) -> retriever_pb2_grpc.RetrieverAsyncStub:
    def add(server: grpc.aio.Server) -> list[str]:
        retriever_pb2_grpc.add_RetrieverServicer_to_server(door, server)
        return [NAME]

    opened = channel(await serving(stack, add), max_message_mb=16)
    return retriever_pb2_grpc.RetrieverStub(await stack.enter_async_context(opened))


async def test_describe_tells_what_there_is(
    stub: retriever_pb2_grpc.RetrieverAsyncStub, store: EmbeddedStore
) -> None:
    assert not (await call(stub.Describe, pb.DescribeRequest(), timeout_s=10)).collections
    for key in (KEY, Key("default", "b"), Key("t2", "b")):
        await store.upsert(key, content("a", ["passage one", "passage two"]))
    told = await call(stub.Describe, pb.DescribeRequest(), timeout_s=10)
    assert [(each.tenant, each.collection) for each in told.collections] == [
        ("default", "b"),
        ("default", "default"),
        ("t2", "b"),
    ]
    one = (await call(stub.Describe, pb.DescribeRequest(tenant="t2"), timeout_s=10)).collections
    assert [(each.documents, each.passages, each.generation, each.dense_tier) for each in one] == [
        (1, 2, 1, "exact")
    ]
    named = pb.DescribeRequest(collection="b")
    assert len((await call(stub.Describe, named, timeout_s=10)).collections) == 2


async def test_more_calls_than_may_run_at_once_are_refused(
    stub: retriever_pb2_grpc.RetrieverAsyncStub, door: RetrieverRpc
) -> None:
    free = dict(door.places)
    door.places.update(dict.fromkeys(free, 0))
    with pytest.raises(Overloaded, match="Compact run already"):
        await call(stub.Compact, pb.CompactRequest(), timeout_s=10)
    with pytest.raises(Overloaded, match="Verify run already"):
        await anext(stream(stub.Verify, pb.VerifyRequest(), timeout_s=10))
    with pytest.raises(Overloaded, match="Export run already"):
        await anext(stream(stub.Export, pb.ExportRequest(), timeout_s=10))
    door.places.update(free)
    await call(stub.Compact, pb.CompactRequest(), timeout_s=10)
    assert [each async for each in stream(stub.Verify, pb.VerifyRequest(), timeout_s=10)] == []
    assert door.places == free


async def test_who_takes_nothing_loses_the_place(
    stub: retriever_pb2_grpc.RetrieverAsyncStub, door: RetrieverRpc, store: EmbeddedStore
) -> None:
    for n in range(20):
        await store.upsert(KEY, content(f"d{n}", ["passage " + "x" * 1_000_000]))
    free, door.stall_s = dict(door.places), 0.2
    parts = stream(stub.Export, pb.ExportRequest(), timeout_s=60)
    assert (await anext(parts)).HasField("begin")
    for _ in range(3000):
        if door.places == free:
            break
        await asyncio.sleep(0.01)
    assert door.places == free
    with pytest.raises(TimedOut, match="took nothing for"):
        _ = [part async for part in parts]
