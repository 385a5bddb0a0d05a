"""The gRPC calls that order writes, over a real server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from ragline.errors import InvalidRequest, NotFound, TooLarge
from ragline.grpc_client import call, channel
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from services.retriever import rpc
from services.retriever.limits import Limits
from services.retriever.search import Search
from services.retriever.stores import MAX_SEQ
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import serving
from tests.retriever.library import request

if TYPE_CHECKING:
    Stub = retriever_pb2_grpc.RetrieverAsyncStub  # of the types only


@pytest.fixture
async def stub(stack: AsyncExitStack, search: Search, store: EmbeddedStore) -> Stub:
    address = await serving(stack, rpc.add(search, store, Limits(max_names=100)))
    opened: grpc.aio.Channel = await stack.enter_async_context(channel(address, max_message_mb=16))
    return retriever_pb2_grpc.RetrieverStub(opened)


def made(name: str, text: str, *, seq: int, container: str = "") -> pb.UpsertRequest:
    sent = request(name, [text])
    sent.seq, sent.container, sent.document.uri = seq, container, f"file:///{seq}"
    sent.document.content_hash = text
    return sent


async def test_a_file_of_many_from_its_first_version_to_its_end(stub: Stub) -> None:
    first = (await call(stub.Reserve, pb.ReserveRequest(count=3), timeout_s=10)).first
    assert (await call(stub.Reserve, pb.ReserveRequest(), timeout_s=10)).first >= first + 3
    for name in ("m1", "m2"):
        done = await call(stub.Upsert, made(name, f"Text of {name}.", seq=first, container="f"), timeout_s=10)
        assert (done.changed, done.stale) == (True, False)
    same = await call(stub.Upsert, made("m1", "Text of m1.", seq=first + 1, container="f"), timeout_s=10)
    assert (same.generation, same.changed, list(same.orphaned_uris)) == (1, False, [])
    settle = pb.SettleRequest(container="f", seq=first + 1, document_ids=["m1"])
    settled = await call(stub.Settle, settle, timeout_s=10)
    assert (settled.generation, settled.stale) == (3, False)
    assert list(settled.orphaned_uris) == [f"file:///{first}"]
    assert list(settled.removed_texts) == ["M2\nText of m2."]
    held = await call(stub.GetDocument, pb.GetDocumentRequest(document_id="m1", brief=True), timeout_s=10)
    assert (held.seq, held.document.uri) == (first + 1, f"file:///{first + 1}")
    late = await call(stub.Upsert, made("m2", "Text of m2.", seq=first, container="f"), timeout_s=10)
    assert (late.stale, late.changed, late.generation) == (True, False, 3)
    known = pb.KnownUrisRequest(uris=[f"file:///{first + n}" for n in range(3)])
    assert list((await call(stub.KnownUris, known, timeout_s=10)).uris) == [f"file:///{first + 1}"]
    for _ in range(2):
        gone = await call(stub.Delete, pb.DeleteRequest(document_id="f", seq=first + 2), timeout_s=10)
        assert (gone.found, gone.passages, gone.generation) == (True, 1, 4)
    with pytest.raises(NotFound):
        await call(stub.GetDocument, pb.GetDocumentRequest(document_id="m1"), timeout_s=10)
    assert not (await call(stub.Delete, pb.DeleteRequest(document_id="nobody"), timeout_s=10)).found
    assert (await call(stub.Settle, settle, timeout_s=10)).stale


async def test_a_delete_makes_no_collection(stub: Stub) -> None:
    await call(stub.Delete, pb.DeleteRequest(collection="new", document_id="a"), timeout_s=10)
    with pytest.raises(NotFound, match="there are: default"):
        await call(stub.ListDocuments, pb.ListDocumentsRequest(collection="new"), timeout_s=10)


async def test_bad_requests_are_refused_by_field(stub: Stub) -> None:
    cases: list[tuple[Any, Any, str]] = [
        (stub.Upsert, made("a", "Text.", seq=MAX_SEQ + 1), "seq"),
        (stub.Upsert, made("a", "Text.", seq=1, container="a\nb"), "container"),
        (stub.Settle, pb.SettleRequest(seq=1), "container"),
        (stub.Delete, pb.DeleteRequest(document_id="a", seq=MAX_SEQ + 1), "seq"),
    ]
    for method, asked, field in cases:
        with pytest.raises(InvalidRequest) as caught:
            await call(method, asked, timeout_s=10)
        assert caught.value.errors[0]["field"] == field


async def test_too_many_names_are_refused_by_the_name_of_the_limit(stub: Stub) -> None:
    names = [str(n) for n in range(101)]
    cases: list[tuple[Any, Any]] = [
        (stub.Reserve, pb.ReserveRequest(count=101)),
        (stub.Settle, pb.SettleRequest(container="f", document_ids=names)),
        (stub.KnownUris, pb.KnownUrisRequest(uris=names)),
    ]
    for method, asked in cases:
        with pytest.raises(TooLarge, match="RETRIEVER_MAX_NAMES"):
            await call(method, asked, timeout_s=10)
