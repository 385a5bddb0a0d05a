"""The gRPC door over a real server."""

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


@pytest.fixture
async def stub(
    stack: AsyncExitStack, search: Search, store: EmbeddedStore
) -> retriever_pb2_grpc.RetrieverAsyncStub:
    limits = Limits(max_queries=3, max_query_chars=50, max_passages=10, max_page=2)
    address = await serving(stack, rpc.add(search, store, limits))
    opened: grpc.aio.Channel = await stack.enter_async_context(channel(address, max_message_mb=16))
    return retriever_pb2_grpc.RetrieverStub(opened)


async def fill(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    for n, (name, texts) in enumerate(LIBRARY.items()):
        await call(stub.Upsert, request(name, texts, n=n), timeout_s=10)


async def test_the_whole_life_of_a_document(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    sent = request("queues", LIBRARY["queues"], lang="en")
    sent.document.content_hash = "h"
    first = await call(stub.Upsert, sent, timeout_s=10)
    again = await call(stub.Upsert, sent, timeout_s=10)
    assert [(each.generation, each.changed) for each in (first, again)] == [(1, True), (1, False)]

    found = await call(stub.Search, pb.SearchRequest(queries=["lost message"], top_k=1), timeout_s=10)
    (hit,) = found.results[0].hits
    assert (hit.passage.id, hit.passage.title, hit.passage.page) == ("queues#0", "Queues", 1)
    assert (hit.dense_rank, hit.sparse_rank) == (1, 1)
    assert hit.HasField("dense_score")
    assert found.generation == 1
    assert set(found.timings_ms) == {"embed", "dense", "sparse", "fuse", "fetch", "total"}
    assert found.results[0].statistics.passages == 2

    got = await call(stub.GetDocument, pb.GetDocumentRequest(document_id="queues"), timeout_s=10)
    assert got.document.source == "\n".join(LIBRARY["queues"])
    assert [passage.text for passage in got.passages] == LIBRARY["queues"]
    brief = await call(stub.GetDocument, pb.GetDocumentRequest(document_id="queues", brief=True), timeout_s=10)
    assert (brief.document.content_hash, brief.document.source, len(brief.passages)) == ("h", "", 0)

    gone = await call(stub.Delete, pb.DeleteRequest(document_id="queues"), timeout_s=10)
    assert (gone.generation, gone.passages, gone.found) == (2, 2, True)
    assert list(gone.removed_texts) == [f"Queues\n{text}" for text in LIBRARY["queues"]]
    after = await call(stub.Search, pb.SearchRequest(queries=["lost message"]), timeout_s=10)
    assert (len(after.results[0].hits), after.generation) == (0, 2)
    with pytest.raises(NotFound):
        await call(stub.GetDocument, pb.GetDocumentRequest(document_id="queues"), timeout_s=10)


async def test_modes_and_filters(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    await fill(stub)
    for mode in (pb.MODE_DENSE, pb.MODE_SPARSE, pb.MODE_HYBRID):
        asked = pb.SearchRequest(queries=["ferry message"], mode=mode, filter_json='{"n": {"$in": [1, 2]}}')
        found = await call(stub.Search, asked, timeout_s=10)
        hits = found.results[0].hits
        assert {hit.passage.document_id for hit in hits} <= {"harbour", "kitchen"}
        assert hits[0].HasField("dense_score") == (mode != pb.MODE_SPARSE)
        assert any(hit.HasField("sparse_score") for hit in hits) == (mode != pb.MODE_DENSE)


async def test_the_queries_vectors_where_they_are_asked_for(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    await fill(stub)
    queries = ["lost message", "ferry"]
    for mode, wanted in ((pb.MODE_HYBRID, True), (pb.MODE_DENSE, True), (pb.MODE_SPARSE, False)):
        asked = pb.SearchRequest(queries=queries, mode=mode, vectors=True)
        found = await call(stub.Search, asked, timeout_s=10)
        vectors = [np.frombuffer(result.vector, dtype="<f4") for result in found.results]
        assert [len(vector) for vector in vectors] == ([64, 64] if wanted else [0, 0])
    plain = await call(stub.Search, pb.SearchRequest(queries=queries), timeout_s=10)
    assert [result.vector for result in plain.results] == [b"", b""]


async def test_a_search_as_the_caller_wishes(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    await fill(stub)
    queues = request("queues", LIBRARY["queues"])
    first, second = queues.passages
    second.start, second.end = first.end + 1, first.end + 1 + len(second.text)
    await call(stub.Upsert, queues, timeout_s=10)
    copy = request("copy", [LIBRARY["queues"][0].upper()])
    written = await call(stub.Upsert, copy, timeout_s=10)
    asked = pb.SearchRequest(
        queries=["lost message retried"],
        top_k=2,
        mode=pb.MODE_AUTO,
        dense_weight=0.25,
        diversity=0.1,
        collapse=True,
        neighbours=1,
        wait_for=written.generation,
    )
    found = await call(stub.Search, asked, timeout_s=10)
    result = found.results[0]
    assert found.generation == written.generation
    assert result.mode in (pb.MODE_HYBRID, pb.MODE_DENSE, pb.MODE_SPARSE)
    assert not result.HasField("dense_weight") or result.dense_weight == 0.25
    (one,) = [hit for hit in result.hits if hit.duplicates]
    assert {one.passage.id, *one.duplicates} == {"queues#0", "copy#0"}
    for hit in result.hits:
        if hit.passage.document_id == "queues":
            assert len(hit.neighbours) == 1
            assert hit.passage.text == "\n\n".join(LIBRARY["queues"])
            assert hit.passage.text[hit.own_start : hit.own_end] in LIBRARY["queues"]


async def test_documents_come_in_pages(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    await fill(stub)
    names: list[str] = []
    while True:
        after = names[-1] if names else ""
        page = await call(stub.ListDocuments, pb.ListDocumentsRequest(after=after), timeout_s=10)
        assert page.generation == 4
        if not page.documents:
            break
        names += [each.id for each in page.documents]
    assert names == sorted(LIBRARY)
    one = await call(stub.ListDocuments, pb.ListDocumentsRequest(limit=1), timeout_s=10)
    assert [(each.id, each.passages) for each in one.documents] == [("garden", 1)]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (pb.SearchRequest(), "queries"),
        (pb.SearchRequest(queries=["a", " "]), "queries[1]"),
        (pb.SearchRequest(queries=["a"], top_k=101), "top_k"),
        (pb.SearchRequest(queries=["a"], collection="../etc"), "collection"),
        (pb.SearchRequest(queries=["a"], collection="-a"), "collection"),
        (pb.SearchRequest(queries=["a"], tenant="a\nb"), "tenant"),
        (pb.SearchRequest(queries=["a"], filter_json='{"$x": 1}'), "filter.$x"),
        (pb.SearchRequest(queries=["a"], mode=9), "mode"),  # type: ignore[arg-type]  # of a later release
        (pb.SearchRequest(queries=["a"], fusion="sum"), "fusion"),
        (pb.SearchRequest(queries=["a"], fusion="rrf", dense_weight=0.5), "dense_weight"),
        (pb.SearchRequest(queries=["a"], dense_weight=1.5), "dense_weight"),
        (pb.SearchRequest(queries=["a"], diversity=float("nan")), "diversity"),
        (pb.SearchRequest(queries=["a"], neighbours=11), "neighbours"),
        (pb.SearchRequest(queries=["a"], wait_for=2**63), "wait_for"),
    ],
)
async def test_a_bad_search_is_refused_by_field(
    stub: retriever_pb2_grpc.RetrieverAsyncStub, asked: pb.SearchRequest, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await call(stub.Search, asked, timeout_s=10)
    assert caught.value.errors[0]["field"] == field


async def test_too_much_is_refused_by_the_name_of_the_limit(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    for asked, name in (
        (pb.SearchRequest(queries=["a"] * 4), "RETRIEVER_MAX_QUERIES"),
        (pb.SearchRequest(queries=["a" * 51]), "RETRIEVER_MAX_QUERY_CHARS"),
    ):
        with pytest.raises(TooLarge, match=name):
            await call(stub.Search, asked, timeout_s=10)
    with pytest.raises(TooLarge, match="RETRIEVER_MAX_PASSAGES"):
        await call(stub.Upsert, request("a", ["x"] * 11), timeout_s=10)
    with pytest.raises(InvalidRequest, match="RETRIEVER_MAX_PAGE"):
        await call(stub.ListDocuments, pb.ListDocumentsRequest(limit=3), timeout_s=10)


def bad(field: str) -> pb.UpsertRequest:
    made = request("a", ["one", "two"])
    match field:
        case "document.id":
            made.document.id = "a\nb"
        case "document.metadata_json":
            made.document.metadata_json = "[]"
        case "dimensions":
            made.fingerprint = ""
        case "vectors":
            made.vectors = made.vectors[:-4]
        case "token_ids":
            made.token_ids[0] = b"abc"
    return made


@pytest.mark.parametrize("field", ["document.id", "document.metadata_json", "dimensions", "vectors", "token_ids"])
async def test_a_bad_upsert_is_refused_by_field(stub: retriever_pb2_grpc.RetrieverAsyncStub, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await call(stub.Upsert, bad(field), timeout_s=10)
    assert caught.value.errors[0]["field"] == field
    empty = await call(stub.ListDocuments, pb.ListDocumentsRequest(), timeout_s=10)
    assert (len(empty.documents), empty.generation) == (0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_vectors_must_be_finite(stub: retriever_pb2_grpc.RetrieverAsyncStub, value: float) -> None:
    made = request("a", ["one"])
    vectors = np.frombuffer(made.vectors, dtype="<f4").copy()
    vectors[3] = value
    made.vectors = vectors.tobytes()
    with pytest.raises(InvalidRequest, match="finite"):
        await call(stub.Upsert, made, timeout_s=10)


async def test_vectors_are_stored_at_unit_length(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    made = request("a", ["one"])
    made.vectors = (np.frombuffer(made.vectors, dtype="<f4") * 3).astype("<f4").tobytes()
    await call(stub.Upsert, made, timeout_s=10)
    found = await call(stub.Search, pb.SearchRequest(queries=["A\none"], mode=pb.MODE_DENSE), timeout_s=10)
    assert found.results[0].hits[0].dense_score == pytest.approx(1.0, abs=1e-5)


async def test_errors_of_the_store_arrive_as_they_are(stub: retriever_pb2_grpc.RetrieverAsyncStub) -> None:
    await fill(stub)
    made = request("other", ["one"])
    made.fingerprint = f"not {EMBEDDER.fingerprint}"
    with pytest.raises(Mismatch, match="another collection"):
        await call(stub.Upsert, made, timeout_s=10)
    with pytest.raises(NotFound, match="there are: default"):
        await call(stub.Search, pb.SearchRequest(queries=["a"], collection="nowhere"), timeout_s=10)
