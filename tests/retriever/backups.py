"""Documents for running retrievers, and what these hold: for the tests of backup and restore."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from ragline.grpc_client import call
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from tests.retriever.library import request
from tests.retriever.process import Retriever, ragline, stub


def document(name: str, version: int = 1, *, collection: str = "", tenant: str = "") -> pb.UpsertRequest:
    """A document whose content hash tells its version."""
    texts = [f"Passage {n} of {name}, version {version}." for n in range(1 + version % 3)]
    made = request(name, texts, version=version)
    made.document.content_hash = f"{name}:{version}"
    made.document.uri = f"file:///{name}/{version}"
    made.collection, made.tenant = collection, tenant
    return made


async def fill(retriever: Retriever, *requests: pb.UpsertRequest) -> None:
    """Write them all, side by side."""
    async with stub(retriever) as door:
        await asyncio.gather(*(call(door.Upsert, each, timeout_s=60) for each in requests))


async def kept(retriever: Retriever, collection: str = "", tenant: str = "") -> dict[str, pb.GetDocumentResponse]:
    """All documents as they are, without what a store gives them."""
    found = {}
    async with stub(retriever) as door:
        page = pb.ListDocumentsRequest(collection=collection, tenant=tenant)
        for each in (await call(door.ListDocuments, page, timeout_s=60)).documents:
            wanted = pb.GetDocumentRequest(collection=collection, tenant=tenant, document_id=each.id, vectors=True)
            answer = await call(door.GetDocument, wanted, timeout_s=60)
            answer.ClearField("generation")
            answer.ClearField("seq")
            found[each.id] = answer
    return found


async def in_thread(*arguments: str | Path) -> tuple[int, str]:
    """The command line, while the loop goes on; its status and all that it said."""
    said = await asyncio.to_thread(ragline, *arguments)
    return said.status, said.out + said.err


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what ``ask`` says."""
    while True:
        if await ask():
            return
        await asyncio.sleep(0.01)


async def names(door: retriever_pb2_grpc.RetrieverAsyncStub) -> set[str]:
    """The ids that are there."""
    page = await call(door.ListDocuments, pb.ListDocumentsRequest(), timeout_s=60)
    return {each.id for each in page.documents}
