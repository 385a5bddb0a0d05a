"""Talks to a retriever's gRPC door for the command line; what it refuses becomes one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

from ragline import log
from ragline import settings as base
from ragline.addresses import split
from ragline.cli.client import Failure
from ragline.cli.ingest import Interrupted
from ragline.cli.settings import Settings
from ragline.errors import NotFound, Overloaded, RaglineError, Unavailable
from ragline.exports import Checksum
from ragline.grpc_client import call, channel, stream
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc

CALL_S = 120.0
STREAM_S = 7 * 86_400.0  # a stream is as long as what it carries; one that is dead is noticed by its pings
PATIENCE = 100  # times that a full queue is waited for
WAIT_S = 0.5  # where the retriever does not say how long
PAGE = 1000

T = TypeVar("T")


class Retriever:
    """One that can be reached at ``address``; every method raises RaglineError."""

    def __init__(self, address: str, stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
        self.address = address
        self.stub = stub

    async def states(self, tenant: str = "", collection: str = "") -> list[pb.CollectionState]:
        """What there is."""
        answer = await call(
            self.stub.Describe, pb.DescribeRequest(tenant=tenant, collection=collection), timeout_s=CALL_S
        )
        return list(answer.collections)

    def verify(self, tenant: str, collection: str, *, mend: bool) -> AsyncGenerator[pb.Finding, None]:
        """What does not agree."""
        request = pb.VerifyRequest(tenant=tenant, collection=collection, mend=mend)
        return stream(self.stub.Verify, request, timeout_s=STREAM_S)

    async def compact(self, tenant: str, collection: str) -> pb.CompactResponse:
        """Have it give back room, however long that takes."""
        request = pb.CompactRequest(tenant=tenant, collection=collection)
        return await call(self.stub.Compact, request, timeout_s=STREAM_S)

    async def export(self, tenant: str, collection: str) -> AsyncGenerator[pb.Exported, None]:
        """Everything as it was at one moment; raises Failure where what came is not what was sent, or not all."""
        checksum: Checksum | None = None
        request = pb.ExportRequest(tenant=tenant, collection=collection)
        async with aclosing(stream(self.stub.Export, request, timeout_s=STREAM_S)) as parts:
            async for part in parts:
                match part.WhichOneof("part"):
                    case "begin":
                        checksum = Checksum()
                    case "document" if checksum is not None:
                        checksum.add(part.document)
                    case "end" if checksum is not None and checksum.hexdigest() == part.end.checksum:
                        checksum = None
                    case _:
                        raise Failure(
                            f"What {self.address} sent does not have the checksum that it says; try again."
                        )
                yield part
        if checksum is not None:
            raise Failure(f"{self.address} ended before all was sent; try again.")

    async def reserve(self, count: int) -> int:
        """The first of numbers that come after all writes so far."""
        answer = await patiently(lambda: call(self.stub.Reserve, pb.ReserveRequest(count=count), timeout_s=CALL_S))
        return answer.first

    async def upsert(self, request: pb.UpsertRequest) -> pb.UpsertResponse:
        """Store a document."""
        return await patiently(lambda: call(self.stub.Upsert, request, timeout_s=CALL_S))

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Delete a document."""
        return await patiently(lambda: call(self.stub.Delete, request, timeout_s=CALL_S))

    async def documents(self, tenant: str, collection: str) -> AsyncIterator[str]:
        """The ids of a collection's documents, ascending."""
        after = ""
        while True:
            request = pb.ListDocumentsRequest(tenant=tenant, collection=collection, after=after)
            try:
                page = await call(self.stub.ListDocuments, request, timeout_s=CALL_S)
            except NotFound:  # the first document makes the collection
                return
            for document in page.documents:
                yield document.id
            if not page.documents:
                return
            after = page.documents[-1].id


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What ``ask`` gives, asked again while the retriever has no room for it."""
    for _ in range(PATIENCE):
        try:
            return await ask()
        except Overloaded as full:
            await asyncio.sleep(full.retry_after_s or WAIT_S)
    return await ask()


def run(work: Callable[..., Awaitable[T]], *addresses: str) -> T:
    """What ``work`` gives when it is handed a retriever for each address, an empty one meaning the settings'.

    Raises Failure that names where a retriever was looked for.
    """
    settings = base.load(Settings)
    log.configure(settings.log_level, settings.log_format)
    wanted = [address or settings.retriever for address in addresses]
    for address in wanted:
        split(address)

    async def whole() -> T:
        async with AsyncExitStack() as stack:
            opened = []
            for address in wanted:
                line = await stack.enter_async_context(channel(address, max_message_mb=settings.max_message_mb))
                opened.append(Retriever(address, retriever_pb2_grpc.RetrieverStub(line)))
            return await work(*opened)

    try:
        return asyncio.run(whole())
    except* RaglineError as group:
        raise sentence(first(group), wanted) from group
    except* Failure as group:
        raise first(group) from None
    except* KeyboardInterrupt:
        raise Interrupted(
            "Stopped; nothing of it counts but what was written, and the same command goes on."
        ) from None


def sentence(error: Exception, wanted: Sequence[str]) -> Failure:
    """What a retriever refused, or that it was not there."""
    places = f"{' and '.join(wanted)}; --retriever or RAGLINE_RETRIEVER_ADDRESS names another"
    where = places if isinstance(error, Unavailable) else " and ".join(wanted)
    return Failure(f"{error} ({where})")


def first(group: BaseExceptionGroup[Any]) -> Any:
    """The failure that ended a group of tasks."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
