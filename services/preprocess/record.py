"""The retriever's record of documents, as preprocess reads and writes it over gRPC."""

from __future__ import annotations

from typing import Any

import grpc

from ragline.errors import NotFound, TooLarge
from ragline.grpc_client import call
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc

ENVELOPE_BYTES = 1024  # what gRPC adds around a message, generously

CHECK_S = 2.0


class Record:
    """Documents of one retriever. Every method raises what the retriever raised, and Unavailable, TimedOut."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float, max_message_mb: int) -> None:
        self.stub: Any = retriever_pb2_grpc.RetrieverStub(channel)
        self.timeout_s = timeout_s
        self.max_message_mb = max_message_mb

    async def upsert(self, request: pb.UpsertRequest) -> pb.UpsertResponse:
        """Store one document with its passages; returns when they are searchable. Raises TooLarge."""
        if request.ByteSize() + ENVELOPE_BYTES > self.max_message_mb << 20:
            raise TooLarge(
                f"The document's {len(request.passages)} passages and vectors do not fit in one message of"
                f" {self.max_message_mb} MB (RAGLINE_MAX_MESSAGE_MB); split the document, or raise the limit."
            )
        response: pb.UpsertResponse = await call(self.stub.Upsert, request, timeout_s=self.timeout_s)
        return response

    async def get(self, tenant: str, collection: str, document_id: str) -> pb.GetDocumentResponse:
        """The document with its text and passages; raises NotFound."""
        return await self._get(tenant, collection, document_id, brief=False)

    async def brief(self, tenant: str, collection: str, document_id: str) -> pb.Document | None:
        """The document without text and passages; None when it is not there."""
        try:
            return (await self._get(tenant, collection, document_id, brief=True)).document
        except NotFound:
            return None

    async def delete(self, tenant: str, collection: str, document_id: str) -> pb.DeleteResponse | None:
        """Remove a document; returns when no search can find it. None when it was not there."""
        request = pb.DeleteRequest(tenant=tenant, collection=collection, document_id=document_id)
        try:
            response: pb.DeleteResponse = await call(self.stub.Delete, request, timeout_s=self.timeout_s)
        except NotFound:
            return None
        return response

    async def page(self, tenant: str, collection: str, limit: int, after: str) -> pb.ListDocumentsResponse:
        """A page of documents by id, from the one behind ``after``."""
        request = pb.ListDocumentsRequest(tenant=tenant, collection=collection, limit=limit, after=after)
        response: pb.ListDocumentsResponse = await call(self.stub.ListDocuments, request, timeout_s=self.timeout_s)
        return response

    async def check(self) -> None:
        """Raise Unavailable unless the retriever answers."""
        request = pb.ListDocumentsRequest(tenant="default", collection="default", limit=1)
        await call(self.stub.ListDocuments, request, timeout_s=CHECK_S)

    async def _get(self, tenant: str, collection: str, document_id: str, *, brief: bool) -> pb.GetDocumentResponse:
        request = pb.GetDocumentRequest(tenant=tenant, collection=collection, document_id=document_id, brief=brief)
        response: pb.GetDocumentResponse = await call(self.stub.GetDocument, request, timeout_s=self.timeout_s)
        return response
