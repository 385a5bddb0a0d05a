"""gRPC for those who look after a retriever: what there is, whether it agrees, room given back, all of it out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from ragline.errors import Overloaded, TimedOut
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from services.retriever.stores import Scope, Store

MAX_EXPORTS = 4  # at once; each keeps a moment of the record, which its write-ahead log grows for
STALL_S = 300.0  # that the receiver of a stream may take nothing
BATCH_BYTES = 1 << 20  # read from the disk in one go
BATCH_MESSAGES = 256

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)


class AdminRpc(retriever_pb2_grpc.RetrieverServicer):
    """The part of ``ragline.v1.Retriever`` that looks after the store."""

    def __init__(self, store: Store, *, max_exports: int = MAX_EXPORTS, stall_s: float = STALL_S) -> None:
        self.store = store
        self.stall_s = stall_s
        self.places = {"Export": max_exports, "Verify": 1, "Compact": 1}  # that are free

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:  # noqa: N802 - gRPC's
        """What there is, a collection each."""
        states = await asyncio.to_thread(self.store.states, Scope(request.tenant, request.collection))
        return pb.DescribeResponse(collections=states)

    async def Export(  # type: ignore[override]  # noqa: N802 - it writes itself, to notice who takes nothing
        self, request: pb.ExportRequest, context: Context
    ) -> None:
        """Everything as it was at one moment, as fast as the receiver takes it."""
        async with self.place("Export"):
            parts = self.store.export(Scope(request.tenant, request.collection))
            await send(Reading(parts, BATCH_MESSAGES), context, self.stall_s)

    async def Verify(  # type: ignore[override]  # noqa: N802
        self, request: pb.VerifyRequest, context: Context
    ) -> None:
        """A finding each."""
        async with self.place("Verify"):
            findings = self.store.verify(Scope(request.tenant, request.collection), mend=request.mend)
            await send(Reading(findings, 1), context, self.stall_s)

    async def Compact(self, request: pb.CompactRequest, context: Context) -> pb.CompactResponse:  # noqa: N802
        """Give back room; returns when it is done."""
        async with self.place("Compact"):
            scope = Scope(request.tenant, request.collection)
            before, after = await asyncio.to_thread(self.store.compact, scope)
        return pb.CompactResponse(bytes_before=before, bytes_after=after)

    @asynccontextmanager
    async def place(self, call: str) -> AsyncIterator[None]:
        """One of the few that may run at once; raises Overloaded where none is free."""
        if not self.places[call]:
            raise Overloaded(f"As many calls of {call} run already as may at once; try again when one has ended.")
        self.places[call] -= 1
        try:
            yield
        finally:
            self.places[call] += 1


async def send(reading: Reading[M], context: Context, stall_s: float) -> None:
    """Write each message once the receiver has room for it; raises TimedOut where it takes none for long."""
    try:
        while batch := await asyncio.to_thread(reading.some):
            for message in batch:
                try:
                    await asyncio.wait_for(context.write(message), stall_s)
                except TimeoutError:
                    raise TimedOut(f"The receiver took nothing for {stall_s:.3g} s; begin again.") from None
    finally:
        await asyncio.to_thread(reading.close)


class Reading(Generic[M]):
    """An iterator read by threads in turn; a call that was cancelled may leave one that is still at it."""

    def __init__(self, messages: Iterator[M], at_once: int) -> None:
        self.messages = messages
        self.at_once = at_once
        self.lock = threading.Lock()

    def some(self) -> list[M]:
        """The next ones, about as much as one go may hold; none at the end."""
        batch: list[M] = []
        size = 0
        with self.lock:
            for message in self.messages:
                batch.append(message)
                size += message.ByteSize()
                if size >= BATCH_BYTES or len(batch) >= self.at_once:
                    break
        return batch

    def close(self) -> None:
        """Let go of what the iterator holds."""
        with self.lock:
            if isinstance(self.messages, Generator):
                self.messages.close()
