"""The retriever as real processes: one store has one writer, and SIGTERM loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline.errors import Cancelled, Unavailable
from ragline.grpc_client import call, channel
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from tests.retriever.library import request
from tests.retriever.process import Retriever

BAD_SETTINGS = 2


@pytest.fixture
def retrievers(tmp_path: Path) -> Iterator[list[Retriever]]:
    """Three of them over one folder; none is started."""
    made = [Retriever(f"retriever{n}", tmp_path) for n in range(3)]
    yield made
    for each in made:
        each.kill()


def test_a_store_has_one_retriever_and_the_next_may_begin_once_it_was_killed(
    retrievers: list[Retriever],
) -> None:
    first, second, third = retrievers
    first.start()
    first.wait_for(200)
    second.start()
    assert second.process is not None
    assert second.process.wait(60) == BAD_SETTINGS
    assert first.process is not None
    sentence = second.log.strip().splitlines()[-1]
    assert f"Another retriever (process {first.process.pid} on " in sentence
    assert "RETRIEVER_DATA_DIR" in sentence
    assert "Milvus" in sentence
    first.wait_for(200)
    first.kill()
    third.start()
    third.wait_for(200)


async def upsert(stub: retriever_pb2_grpc.RetrieverAsyncStub, n: int) -> bool:
    """Whether it was acknowledged; the only failure is that a retriever which ends takes no more."""
    try:
        await call(stub.Upsert, request(f"d{n}", [f"Passage number {n}."]), timeout_s=60)
    except (Unavailable, Cancelled):
        return False
    return True


async def test_a_retriever_that_is_told_to_end_finishes_what_it_took(retrievers: list[Retriever]) -> None:
    first, second, _ = retrievers
    first.start()
    await asyncio.to_thread(first.wait_for, 200)
    async with channel(first.address, max_message_mb=16) as opened:
        stub = retriever_pb2_grpc.RetrieverStub(opened)
        reserved = await call(stub.Reserve, pb.ReserveRequest(count=10), timeout_s=10)
        writes = [asyncio.create_task(upsert(stub, n)) for n in range(200)]
        await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        assert first.process is not None
        first.process.send_signal(signal.SIGTERM)
        results = await asyncio.gather(*writes)
    assert await asyncio.to_thread(first.process.wait, 60) == 0
    acknowledged = {f"d{n}" for n, done in enumerate(results) if done}
    assert acknowledged
    second.start()
    await asyncio.to_thread(second.wait_for, 200)
    async with channel(second.address, max_message_mb=16) as opened:
        stub = retriever_pb2_grpc.RetrieverStub(opened)
        page = await call(stub.ListDocuments, pb.ListDocumentsRequest(), timeout_s=10)
        assert acknowledged <= {each.id for each in page.documents}
        again = await call(stub.Reserve, pb.ReserveRequest(count=1), timeout_s=10)
        assert again.first > reserved.first + 9
