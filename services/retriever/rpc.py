"""The gRPC door: ragline.v1.Retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from services.retriever import filters, wishes
from services.retriever.admin import AdminRpc
from services.retriever.asking import Hit, Request, Result
from services.retriever.limits import Limits, document_id, key, place
from services.retriever.search import Search
from services.retriever.staging import StagingRpc
from services.retriever.stores import Store

NAME: str = pb.DESCRIPTOR.services_by_name["Retriever"].full_name
MODES = {pb.MODE_HYBRID: "hybrid", pb.MODE_DENSE: "dense", pb.MODE_SPARSE: "sparse", pb.MODE_AUTO: "auto"}
WIRE_MODES = {name: mode for mode, name in MODES.items()}
DEFAULT_TOP_K = 10

Context = grpc.aio.ServicerContext[Any, Any]


class RetrieverRpc(AdminRpc, StagingRpc):
    """Checks what came, asks the use case or the store, and puts the answer into messages."""

    def __init__(self, search: Search, store: Store, limits: Limits) -> None:
        AdminRpc.__init__(self, store)
        self.search = search
        self.limits = limits

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:  # noqa: N802 - gRPC's
        """Passages for each query, best first."""
        asked = Request(
            key=key(request.tenant, request.collection),
            queries=self.limits.queries(request.queries),
            top_k=self.limits.top_k(request.top_k or DEFAULT_TOP_K),
            filter=filters.parse(request.filter_json, max_terms=self.limits.max_filter_terms),
            vectors=request.vectors,
            **wished(request),
        )
        found = await self.search(asked)
        return pb.SearchResponse(
            results=[result_message(result) for result in found.results],
            generation=found.generation,
            timings_ms=found.timings_ms,
            degraded=found.degraded,
        )

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:  # noqa: N802
        """Numbers that give writes their place; the next one where none is asked for."""
        return pb.ReserveResponse(first=await self.store.reserve(self.limits.count(request.count or 1)))

    async def Upsert(self, request: pb.UpsertRequest, context: Context) -> pb.UpsertResponse:  # noqa: N802
        """Store a document; returns when every later search finds it."""
        where, seq = key(request.tenant, request.collection), place(request.seq)
        container = document_id(request.container, "container") if request.container else ""
        content = await asyncio.to_thread(self.limits.content, request)
        done = await self.store.upsert(where, content, seq=seq, container=container)
        return pb.UpsertResponse(**vars(done))

    async def Settle(self, request: pb.SettleRequest, context: Context) -> pb.SettleResponse:  # noqa: N802
        """Remove what an earlier version of a file left; returns when no later search finds it."""
        where, seq = key(request.tenant, request.collection), place(request.seq)
        container = document_id(request.container, "container")
        self.limits.count(len(request.document_ids), "document_ids")
        done = await self.store.settle(where, container, request.document_ids, seq=seq)
        return pb.SettleResponse(**vars(done))

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:  # noqa: N802
        """Delete a document or what came out of a file; returns when no later search finds it."""
        where, seq = key(request.tenant, request.collection), place(request.seq)
        done = await self.store.delete(where, document_id(request.document_id), seq=seq)
        return pb.DeleteResponse(**vars(done))

    async def KnownUris(  # noqa: N802
        self, request: pb.KnownUrisRequest, context: Context
    ) -> pb.KnownUrisResponse:
        """Which raw bytes are needed, whoever's they are."""
        self.limits.count(len(request.uris), "uris")
        return pb.KnownUrisResponse(uris=await self.search.compute(self.store.known_uris, request.uris))

    async def GetDocument(  # noqa: N802
        self, request: pb.GetDocumentRequest, context: Context
    ) -> pb.GetDocumentResponse:
        """A document as stored."""
        where, name = key(request.tenant, request.collection), document_id(request.document_id)
        kept = await self.search.compute(lambda: self.store.document(where, name, brief=request.brief))
        return pb.GetDocumentResponse(**vars(kept), generation=(await self.search.view(where)).generation)

    async def ListDocuments(  # noqa: N802
        self, request: pb.ListDocumentsRequest, context: Context
    ) -> pb.ListDocumentsResponse:
        """A page of documents; an id that is the last of a page begins the next."""
        where, limit = key(request.tenant, request.collection), self.limits.page(request.limit)
        generation = (await self.search.view(where)).generation
        documents = await self.search.compute(lambda: self.store.documents(where, limit, request.after))
        return pb.ListDocumentsResponse(documents=documents, generation=generation)


def wished(request: pb.SearchRequest) -> wishes.Wishes:
    """How the request wants to be searched; raises InvalidRequest."""
    return wishes.checked(
        {
            "mode": MODES.get(request.mode, str(request.mode)),
            "fusion": request.fusion or None,
            "dense_weight": request.dense_weight if request.HasField("dense_weight") else None,
            "diversity": request.diversity,
            "neighbours": request.neighbours,
            "collapse": request.collapse,
            "wait_for": request.wait_for,
        }
    )


def result_message(result: Result) -> pb.SearchResult:
    """A query's hits, and how it was searched."""
    how = result.how
    return pb.SearchResult(
        hits=[hit_message(hit) for hit in result.hits],
        statistics=result.statistics,
        mode=WIRE_MODES[how.mode] if how else pb.MODE_HYBRID,
        dense_weight=how.dense_weight if how else None,
        vector=b"" if result.vector is None else result.vector.astype("<f4").tobytes(),
    )


def hit_message(hit: Hit) -> pb.Hit:
    """A hit with what each side said of it."""
    fused = hit.fused
    own_start, own_end = hit.own or (0, 0)
    return pb.Hit(
        duplicates=hit.duplicates,
        own_start=own_start,
        own_end=own_end,
        neighbours=hit.joined,
        passage=hit.passage,
        score=hit.score,
        dense_score=fused.dense_score,
        sparse_score=fused.sparse_score,
        dense_rank=fused.dense_rank,
        sparse_rank=fused.sparse_rank,
    )


def add(search: Search, store: Store, limits: Limits) -> Callable[[grpc.aio.Server], Sequence[str]]:
    """What registers the service on a server."""

    def register(server: grpc.aio.Server) -> Sequence[str]:
        retriever_pb2_grpc.add_RetrieverServicer_to_server(RetrieverRpc(search, store, limits), server)
        return [NAME]

    return register
