"""Tries to read across tenants in every way there is, over gRPC on a real server; each text names its owner."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ragline.cache
from ragline.errors import InvalidRequest, NotFound, RaglineError
from ragline.grpc_client import call, channel
from ragline.spans import embedded_text
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from ragline.v1.passage_pb2 import Passage
from services.retriever import rpc
from services.retriever.keeping import Keeping
from services.retriever.limits import Limits
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.conftest import EMBEDDER, Make, serving

Stub = Any

# What one may take for another, or for a pattern, a path or a piece of SQL. Each gets a number in front.
TENANTS = [
    "a",
    "A",
    "a/b",
    "a b",
    "á",
    "a\u0301",
    "\u0430",
    "a\u200b",
    "%",
    "_",
    "*",
    "a' OR '1'='1",
    "..",
    "null",
]
COLLECTIONS = ["default", "b", "B", "b.c", "b-c", "b_c", "0"]
NOT_COLLECTIONS = ["a/b", "../a", "b ", " b", "b\u200b", "\u0431", "b\n", "%", "*", "b'--", "x" * 65]
DOCUMENTS = ["same", "same/1", "Same"]
MODES = [pb.MODE_HYBRID, pb.MODE_DENSE, pb.MODE_SPARSE, pb.MODE_AUTO]
FILTERS: list[object] = [
    {},
    {"document_id": "same"},
    {"document_id": {"$ne": "nothing"}},
    {"document_id": {"$gte": ""}},
    {"title": {"$exists": True}},
    {"$not": {"document_id": "nothing"}},
    {"$or": [{"document_id": "same"}, {"$not": {"title": "nothing"}}]},
    {"$and": [{"$or": [{"n": 1}, {"n": {"$ne": 1}}]}, {"$not": {"$not": {"n": {"$exists": True}}}}]},
    {"document_id": "x') OR 1=1 --"},
    {"title": {"$in": ["' UNION SELECT * FROM documents --", "%"]}},
    {"') OR 1=1 OR ('": {"$ne": 1}},
    {"documents.collection": {"$ne": 0}},
    {"tenant": {"$exists": False}},
    {"collection": {"$ne": 1}},
]
numbers = itertools.count(1)


@dataclass
class Owner:
    """A collection of a tenant, what it should hold, and the word that is in all its texts and in no other's."""

    tenant: str
    collection: str
    marker: str
    documents: dict[str, int] = field(default_factory=dict)  # id → version
    generation: int = 0

    def text(self, name: str, version: int) -> str:
        return f"The common secret of {self.marker} is version {version} of {name}."

    def upsert(self, name: str, version: int) -> pb.UpsertRequest:
        text, title = self.text(name, version), f"Title {self.marker}"
        embedded = EMBEDDER.embed([embedded_text(title, self.marker, text)])
        metadata = {"n": version, "owner": self.marker}
        return pb.UpsertRequest(
            tenant=self.tenant,
            collection=self.collection,
            document=pb.Document(
                id=name, title=title, source=text, metadata_json=json.dumps(metadata), uri=f"file:///{self.marker}"
            ),
            passages=[Passage(text=text, section=self.marker, start=0, end=len(text))],
            vectors=np.ascontiguousarray(embedded.vectors, dtype="<f4").tobytes(),
            dimensions=EMBEDDER.dimensions,
            fingerprint=EMBEDDER.fingerprint,
            token_ids=[ids.astype("<u4").tobytes() for ids in embedded.token_ids],
        )


@pytest.fixture
async def stub(stack: AsyncExitStack, make: Make, store: EmbeddedStore) -> AsyncIterator[Stub]:
    """A server over one store, with a cache that all share."""
    search = make(keeping=Keeping(ragline.cache.open("memory://"), 60))
    address = await serving(stack, rpc.add(search, store, Limits()))
    async with channel(address, max_message_mb=16) as opened:
        yield retriever_pb2_grpc.RetrieverStub(opened)


def owners(tenants: Iterable[str], collections: Iterable[str]) -> list[Owner]:
    """New ones, as no example may meet what another left."""
    number = next(numbers)
    pairs = itertools.product(tenants, collections)
    return [Owner(f"{number}{tenant}", name, f"mark{number}x{i}y") for i, (tenant, name) in enumerate(pairs)]


steps = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from(["put", "put", "put", "delete", "settle"]), st.sampled_from(DOCUMENTS)
    ),
    min_size=1,
    max_size=12,
)


@given(
    tenants=st.lists(st.sampled_from(TENANTS), min_size=2, max_size=3, unique=True),
    collections=st.lists(st.sampled_from(COLLECTIONS), min_size=1, max_size=2, unique=True),
    changes=steps,
    asked=st.sampled_from(FILTERS),
)
@settings(
    max_examples=10,
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # an example takes a second: the first that fails will do
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_each_sees_its_own_and_nothing_else(
    stub: Stub, tenants: list[str], collections: list[str], changes: list[tuple[int, str, str]], asked: object
) -> None:
    everyone = owners(tenants, collections)
    for version, (who, what, name) in enumerate(changes):
        await changed(stub, everyone[who % len(everyone)], what, name, version)
    for owner in everyone:
        await only_its_own(stub, owner, everyone, asked)
        await streams(stub, owner, everyone)
    # All at once, the same queries of all: whatever is joined, shared or kept must be told apart.
    await asyncio.gather(*(only_its_own(stub, owner, everyone, asked) for owner in everyone * 2))


async def changed(stub: Stub, owner: Owner, what: str, name: str, version: int) -> None:
    """One write; its answer tells of nobody else."""
    done: Any
    held = name in owner.documents
    where = where_of(owner)
    if what == "put":
        done = await call(stub.Upsert, owner.upsert(name, version), timeout_s=30)
        owner.documents[name] = version
        owner.generation += 1
    elif what == "delete":
        done = await call(stub.Delete, pb.DeleteRequest(document_id=name, **where), timeout_s=30)
        assert done.found == held
    else:  # a file of that id was read again and holds nothing now
        done = await call(stub.Settle, pb.SettleRequest(container=name, **where), timeout_s=30)
    if what != "put":
        owner.generation += name in owner.documents
        owner.documents.pop(name, None)
    assert done.generation == owner.generation
    assert all(owner.marker in text for text in [*done.removed_texts, *done.orphaned_uris])


async def only_its_own(stub: Stub, owner: Owner, everyone: list[Owner], asked: object) -> None:
    """Every reading call as this owner."""
    foreign = [other.marker for other in everyone if other is not owner]
    where = where_of(owner)
    if owner.generation:
        await searches(stub, owner, foreign, asked)
        page = await told(stub.ListDocuments, pb.ListDocumentsRequest(**where), foreign)
        assert [each.id for each in page.documents] == sorted(owner.documents)
        assert page.generation == owner.generation
    for name in DOCUMENTS:
        got = await told(stub.GetDocument, pb.GetDocumentRequest(document_id=name, **where), foreign)
        if name in owner.documents:
            assert got.document.source == owner.text(name, owner.documents[name])
        else:
            assert isinstance(got, NotFound)
    siblings = {other.marker for other in everyone if other.tenant == owner.tenant}
    strangers = [marker for marker in foreign if marker not in siblings]
    await told(stub.Describe, pb.DescribeRequest(tenant=owner.tenant), strangers)
    if owner.documents:  # whose vectors are missing: it is refused
        refused = await told(stub.Switch, pb.SwitchRequest(fingerprint="other", **where), foreign)
        assert not refused.switched
        assert set(refused.missing) <= set(owner.documents)


async def streams(stub: Stub, owner: Owner, everyone: list[Owner]) -> None:
    """What looks after a collection, one call at a time."""
    where = where_of(owner)
    for stream in (stub.Export(pb.ExportRequest(**where)), stub.Verify(pb.VerifyRequest(**where))):
        async for part in stream:
            assert not any(other.marker in repr(part) for other in everyone if other is not owner)


async def searches(stub: Stub, owner: Owner, foreign: list[str], asked: object) -> None:
    """In each mode, by others' words, too; whoever asks a second time is answered from the cache."""
    queries = ["common secret", *(f"secret of {marker}" for marker in foreign[:2]), '"common secret of"']
    for mode in MODES:
        request = pb.SearchRequest(
            **where_of(owner),
            queries=queries,
            mode=mode,
            top_k=50,
            filter_json=json.dumps(asked),
            neighbours=1,
            collapse=True,
            diversity=0.3,
        )
        plain = pb.SearchRequest(**where_of(owner), queries=queries, mode=mode, top_k=50)
        found = await told(stub.Search, request, foreign)
        assert isinstance(found, pb.SearchResponse | InvalidRequest)  # a filter's key may be no key
        everything = await told(stub.Search, plain, foreign)
        assert everything.generation == owner.generation
        assert {hit.passage.document_id for hit in everything.results[0].hits} == set(owner.documents)
        assert {result.statistics.passages for result in everything.results} <= {0, len(owner.documents)}


def where_of(owner: Owner) -> dict[str, Any]:
    return {"tenant": owner.tenant, "collection": owner.collection}


async def told(method: Any, request: Message, foreign: list[str]) -> Any:
    """The answer or the failure, neither of which names what is another's."""
    try:
        answer = await call(method, request, timeout_s=30)
    except RaglineError as error:
        answer, said = error, f"{error.detail} {error.errors}"
    else:
        said = repr(answer)
    assert not any(marker in said for marker in foreign)
    return answer


@pytest.mark.parametrize("mode", MODES)
async def test_what_another_has_is_what_nobody_has(stub: Stub, mode: Any) -> None:
    """No answer tells whether another tenant has a collection or a document of that name."""
    mine, theirs = owners(["me"], ["default"])[0], owners(["them"], ["theirs"])[0]
    for owner in (mine, theirs):
        await changed(stub, owner, "put", owner.marker, 1)
    answers = []
    for collection, name in (("theirs", theirs.marker), ("nobodys", "nothing")):
        where: dict[str, Any] = {"tenant": mine.tenant, "collection": collection}
        at_home = pb.GetDocumentRequest(tenant=mine.tenant, document_id=name)
        found = [
            await failed(stub.Search(pb.SearchRequest(queries=["secret"], mode=mode, **where))),
            await failed(stub.ListDocuments(pb.ListDocumentsRequest(**where))),
            await failed(stub.GetDocument(pb.GetDocumentRequest(document_id=name, **where))),
            await failed(stub.GetDocument(at_home)),
        ]
        answers.append([said.replace(collection, "…").replace(name, "…") for said in found])
    assert answers[0] == answers[1]


async def failed(asked: grpc.aio.UnaryUnaryCall[Message, Message]) -> str:
    """The details of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asked
    return f"{caught.value.code()} {caught.value.details()}"


async def test_names_that_look_like_others_are_refused_or_others(stub: Stub) -> None:
    (owner,) = owners(["a"], ["b"])
    await changed(stub, owner, "put", "same", 1)
    for name in NOT_COLLECTIONS:
        asked = pb.SearchRequest(tenant=owner.tenant, collection=name, queries=["secret"])
        with pytest.raises(InvalidRequest, match="collection"):
            await call(stub.Search, asked, timeout_s=10)
    for tenant in (f"{owner.tenant}\u0000", f"{owner.tenant}\n", "x" * 129):
        with pytest.raises(InvalidRequest, match="tenant"):
            await call(stub.Search, pb.SearchRequest(tenant=tenant, queries=["secret"]), timeout_s=10)
    for tenant in (f"{owner.tenant} ", f" {owner.tenant}", owner.tenant.upper(), f"{owner.tenant}%", "", "%"):
        asked = pb.SearchRequest(tenant=tenant, collection="b", queries=["secret"])
        with pytest.raises(NotFound):
            await call(stub.Search, asked, timeout_s=10)


async def test_another_tenants_generation_is_not_waited_for(stub: Stub) -> None:
    mine, theirs = owners(["me", "them"], ["default"])
    await changed(stub, mine, "put", "same", 1)
    for version in range(3):
        await changed(stub, theirs, "put", "same", version)
    asked = pb.SearchRequest(tenant=mine.tenant, queries=["common secret"], wait_for=3, mode=pb.MODE_SPARSE)
    waiting = asyncio.create_task(call(stub.Search, asked, timeout_s=60))
    for version in (2, 3):
        assert not waiting.done()
        await changed(stub, mine, "put", "same", version)
    found = await waiting
    assert found.generation == 3
    assert [hit.passage.text for hit in found.results[0].hits] == [mine.text("same", 3)]


async def test_raw_bytes_are_asked_for_by_name_only(stub: Stub) -> None:
    """The one call that knows no tenant says yes or no to names that the caller has."""
    everyone = owners(["me", "them"], ["default"])
    for owner in everyone:
        await changed(stub, owner, "put", "same", 1)
    asked = [f"file:///{everyone[0].marker}", "file:///%", "%", "file:///nothing"]
    known = await call(stub.KnownUris, pb.KnownUrisRequest(uris=asked), timeout_s=10)
    assert list(known.uris) == asked[:1]


async def test_nothing_is_staged_or_removed_for_another(stub: Stub) -> None:
    """Writes that name another's document by id, file or number reach nothing of it."""
    mine, theirs = owners(["me", "them"], ["default"])
    for owner, name in ((mine, "mine"), (theirs, "theirs")):
        await changed(stub, owner, "put", name, 1)
    wanted = pb.GetDocumentRequest(tenant=theirs.tenant, document_id="theirs", vectors=True)
    before = await call(stub.GetDocument, wanted, timeout_s=10)
    for tenant in (mine.tenant, "", f"{theirs.tenant} "):
        where: dict[str, Any] = {"tenant": tenant, "collection": "default"}
        stage = pb.StageRequest(
            document_id="theirs",
            seq=before.seq,
            fingerprint="next",
            dimensions=before.dimensions,
            vectors=before.vectors,
            token_ids=before.token_ids,
            **where,
        )
        staged = await told(stub.Stage, stage, [])
        assert isinstance(staged, RaglineError) or staged.stale
        gone = await call(stub.Delete, pb.DeleteRequest(document_id="theirs", **where), timeout_s=10)
        assert (gone.found, gone.passages, list(gone.orphaned_uris)) == (False, 0, [])
        await call(stub.Settle, pb.SettleRequest(container="theirs", seq=before.seq + 100, **where), timeout_s=10)
    assert await call(stub.GetDocument, wanted, timeout_s=10) == before
    described = await call(stub.Describe, pb.DescribeRequest(tenant=theirs.tenant), timeout_s=10)
    assert [(each.passages, each.staged, each.next_fingerprint) for each in described.collections] == [(1, 0, "")]
