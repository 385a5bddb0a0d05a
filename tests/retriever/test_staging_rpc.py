"""Stage and Switch over a real server: from the first vectors to searches by the new embedder."""

from __future__ import annotations

from contextlib import AsyncExitStack

import grpc
import numpy as np
import pytest

from ragline.errors import InvalidRequest, Mismatch, NotFound, TooLarge
from ragline.grpc_client import call, channel
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from services.retriever import rpc
from services.retriever.limits import Limits
from services.retriever.search import Search
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import EMBEDDER, serving
from tests.retriever.library import LIBRARY, request

OTHER, WIDE = "other-8", 8


@pytest.fixture
async def stub(
    stack: AsyncExitStack, search: Search, store: EmbeddedStore
) -> retriever_pb2_grpc.RetrieverAsyncStub:
    address = await serving(stack, rpc.add(search, store, Limits(max_passages=10)))
    opened: grpc.aio.Channel = await stack.enter_async_context(channel(address, max_message_mb=16))
    made = retriever_pb2_grpc.RetrieverStub(opened)
    for n, (name, texts) in enumerate(LIBRARY.items()):
        await call(made.Upsert, request(name, texts, n=n), timeout_s=10)
    return made


def staged(name: str, seq: int, count: int, **changes: object) -> pb.StageRequest:
    """Vectors for a document of so many passages."""
    vectors = np.eye(count, WIDE, dtype="<f4")
    fields = {
        "document_id": name,
        "seq": seq,
        "fingerprint": OTHER,
        "dimensions": WIDE,
        "vectors": vectors.tobytes(),
        "token_ids": [np.array([7], dtype="<u4").tobytes()] * count,
        **changes,
    }
    return pb.StageRequest(**fields)  # type: ignore[arg-type]  # one of them is of any kind


async def test_a_collection_gets_another_embedder(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    switch = pb.SwitchRequest(fingerprint=OTHER)
    first = await call(stub.Switch, switch, timeout_s=10)
    assert (first.switched, list(first.missing)) == (False, list(LIBRARY))
    stale = await call(stub.Stage, staged("queues", 3, 2), timeout_s=10)
    assert stale.stale, "no such version is there"
    for name in first.missing:
        found = await call(stub.GetDocument, pb.GetDocumentRequest(document_id=name), timeout_s=10)
        answer = await call(stub.Stage, staged(name, found.seq, len(found.passages)), timeout_s=10)
        assert not answer.stale
    (before,) = (await call(stub.Describe, pb.DescribeRequest(), timeout_s=10)).collections
    assert (before.fingerprint, before.next_fingerprint) == (EMBEDDER.fingerprint, OTHER)
    assert before.staged == before.passages
    done = await call(stub.Switch, switch, timeout_s=10)
    (after,) = (await call(stub.Describe, pb.DescribeRequest(), timeout_s=10)).collections
    assert (done.switched, done.generation) == (True, before.generation + 1)
    assert (after.fingerprint, after.dimensions, after.generation) == (OTHER, WIDE, done.generation)
    assert (after.next_fingerprint, after.staged) == ("", 0)
    with pytest.raises(Mismatch) as refusal:
        await call(stub.Upsert, request("new", ["A text."], n=0), timeout_s=10)
    assert refusal.value.wanted == OTHER, "it travels beside the status"
    with pytest.raises(Mismatch, match=r"PREPROCESS_NEXT_EMBEDDER.*ragline reembed.*mode sparse"):
        await call(stub.Search, pb.SearchRequest(queries=["ferry"]), timeout_s=10)
    sparse = pb.SearchRequest(queries=["ferry"], mode=pb.MODE_SPARSE)
    assert (await call(stub.Search, sparse, timeout_s=10)).results[0].hits


async def test_what_makes_no_sense_is_refused_by_name(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    for changes, field in (
        ({"dimensions": 0}, "dimensions"),
        ({"fingerprint": ""}, "fingerprint"),
        ({"fingerprint": "x" * 257}, "fingerprint"),
        ({"vectors": b"\0" * 33}, "vectors"),
        ({"token_ids": [b"\0\0\0"]}, "token_ids"),
        ({"document_id": ""}, "document_id"),
    ):
        with pytest.raises(InvalidRequest) as refusal:
            await call(stub.Stage, staged("bread", 1, 1, **changes), timeout_s=10)
        assert refusal.value.errors[0]["field"] == field
    with pytest.raises(TooLarge, match="RETRIEVER_MAX_PASSAGES"):
        await call(stub.Stage, staged("bread", 1, 11), timeout_s=10)
    with pytest.raises(InvalidRequest):
        await call(stub.Switch, pb.SwitchRequest(), timeout_s=10)
    with pytest.raises(NotFound):
        await call(stub.Switch, pb.SwitchRequest(collection="none", fingerprint=OTHER), timeout_s=10)
