"""gRPC for a change of the embedder: vectors beside those that are searched by, and the switch to them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from ragline.errors import InvalidRequest
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from services.retriever.limits import MAX_DIMENSIONS, Limits, document_id, key, place, token_ids, vectors
from services.retriever.stores import Store, Vectorised

MAX_FINGERPRINT_CHARS = 256

Context = grpc.aio.ServicerContext[Any, Any]


class StagingRpc(retriever_pb2_grpc.RetrieverServicer):
    """The part of ``ragline.v1.Retriever`` by which a collection gets another embedder."""

    store: Store
    limits: Limits

    async def Stage(self, request: pb.StageRequest, context: Context) -> pb.StageResponse:  # noqa: N802 - gRPC's
        """Keep vectors for a document that is there; nothing is searched by them yet."""
        where, seq = key(request.tenant, request.collection), place(request.seq)
        name = document_id(request.document_id)
        given = await asyncio.to_thread(self.vectorised, request)
        return pb.StageResponse(stale=await self.store.stage(where, name, seq, given))

    async def Switch(self, request: pb.SwitchRequest, context: Context) -> pb.SwitchResponse:  # noqa: N802
        """Search by what is staged, if it is all there; returns when every later search does."""
        where = key(request.tenant, request.collection)
        done = await self.store.switch(where, fingerprint(request.fingerprint))
        return pb.SwitchResponse(**vars(done))

    def vectorised(self, request: pb.StageRequest) -> Vectorised:
        """The vectors as an array; raises InvalidRequest or TooLarge."""
        if not 1 <= request.dimensions <= MAX_DIMENSIONS:
            raise InvalidRequest(
                f"dimensions is {request.dimensions}; it must be 1 to {MAX_DIMENSIONS}.", field="dimensions"
            )
        count = self.limits.passages(len(request.vectors) // (4 * request.dimensions), "vectors")
        return Vectorised(fingerprint(request.fingerprint), vectors(request, count), token_ids(request, count))


def fingerprint(given: str) -> str:
    """``given``, if it can be an embedder's."""
    if not 0 < len(given) <= MAX_FINGERPRINT_CHARS:
        raise InvalidRequest(f"A fingerprint has 1 to {MAX_FINGERPRINT_CHARS} characters.", field="fingerprint")
    return given
