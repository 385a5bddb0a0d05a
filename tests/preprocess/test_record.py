"""The retriever as preprocess sees it: away, gone in the middle of a call, or refusing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import grpc
import pytest

from ragline import context
from ragline.errors import Overloaded, TooLarge, Unavailable
from ragline.grpc_client import channel
from ragline.grpc_server import GrpcServer
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from services.preprocess.record import Interrupted, Record
from tests.suite import free_ports

Answer = Callable[[pb.UpsertRequest], Coroutine[Any, Any, pb.UpsertResponse]]


class Retriever(retriever_pb2_grpc.RetrieverServicer):
    """Answers as a test says."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def Upsert(  # noqa: N802 - named by the proto
        self, request: pb.UpsertRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.UpsertResponse:
        return await self.answer(request)

    async def Reserve(  # noqa: N802
        self, request: pb.ReserveRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ReserveResponse:
        return pb.ReserveResponse(first=7)


def server(answer: Answer, port: int = 0) -> GrpcServer:
    def add(made: grpc.aio.Server) -> list[str]:
        retriever_pb2_grpc.add_RetrieverServicer_to_server(cast("Any", Retriever)(answer), made)
        return []

    return GrpcServer(f"127.0.0.1:{port}", add, max_message_mb=8, drain_s=0)


async def stored(_: pb.UpsertRequest) -> pb.UpsertResponse:
    return pb.UpsertResponse(generation=1, changed=True)


async def test_a_refusal_is_what_the_retriever_said() -> None:
    async def refuse(_: pb.UpsertRequest) -> pb.UpsertResponse:
        raise Unavailable("The disk of the record is full.")

    made = server(refuse)
    port = await made.start()
    async with channel(f"127.0.0.1:{port}", max_message_mb=8) as wire:
        with pytest.raises(Unavailable, match="disk") as caught:
            await Record(wire, timeout_s=5, max_message_mb=8).upsert(pb.UpsertRequest())
        assert not isinstance(caught.value, Interrupted)
    await made.stop()


async def test_a_retriever_that_goes_in_the_middle_of_a_write_is_told_apart() -> None:
    asked = asyncio.Event()

    async def hang(_: pb.UpsertRequest) -> pb.UpsertResponse:
        asked.set()
        await asyncio.Event().wait()
        return pb.UpsertResponse()

    made = server(hang)
    port = await made.start()
    async with channel(f"127.0.0.1:{port}", max_message_mb=8) as wire:
        writing = asyncio.create_task(Record(wire, timeout_s=20, max_message_mb=8).upsert(pb.UpsertRequest()))
        await asked.wait()
        await made.stop(0)
        with pytest.raises(Interrupted):
            await writing


async def test_numbers_are_waited_for_while_the_retriever_starts() -> None:
    [port] = free_ports(1)
    made = server(stored, port)
    async with channel(f"127.0.0.1:{port}", max_message_mb=8) as wire:
        record = Record(wire, timeout_s=5, max_message_mb=8, wait_s=30)
        asking = asyncio.create_task(record.reserve(3))
        with pytest.raises(Unavailable):
            await Record(wire, timeout_s=5, max_message_mb=8, wait_s=0).reserve(1)
        await made.start()
        assert await asking == 7
    await made.stop()


async def test_no_longer_than_the_request_lasts() -> None:
    [port] = free_ports(1)
    async with channel(f"127.0.0.1:{port}", max_message_mb=8) as wire:
        record = Record(wire, timeout_s=5, max_message_mb=8, wait_s=3600)
        with context.bind(timeout_s=0.5), pytest.raises(Unavailable) as caught:
            await record.reserve(1)
    assert caught.value.retry_after_s == 5


async def test_a_document_over_the_largest_message_is_too_large() -> None:
    async with channel("127.0.0.1:1", max_message_mb=1) as wire:
        with pytest.raises(TooLarge, match="RAGLINE_MAX_MESSAGE_MB"):
            await Record(wire, timeout_s=5, max_message_mb=1).upsert(pb.UpsertRequest(vectors=b"x" * (1 << 20)))


async def test_an_overload_stays_one() -> None:
    async def full(_: pb.UpsertRequest) -> pb.UpsertResponse:
        raise Overloaded("Full.")

    made = server(full)
    port = await made.start()
    async with channel(f"127.0.0.1:{port}", max_message_mb=8) as wire:
        with pytest.raises(Overloaded):
            await Record(wire, timeout_s=5, max_message_mb=8).upsert(pb.UpsertRequest())
    await made.stop()
