"""The retriever's record of documents, as preprocess reads and writes it over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog

from ragline import context
from ragline.errors import NotFound, TimedOut, TooLarge, Unavailable
from ragline.grpc_client import call
from ragline.grpc_server import EXTRA_KEY
from ragline.sequence import microseconds
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc

ENVELOPE_BYTES = 1024  # what gRPC adds around a message, generously
CHECK_S = 2.0
SWITCH_S = 600.0  # the vectors of a whole collection are moved
AGAIN_S = 0.25
RETRY_AFTER_S = 5.0

log = structlog.get_logger(__name__)


class Interrupted(Unavailable):
    """The retriever was there, and went away while it was storing a document: perhaps because of that."""


class Record:
    """Documents of one retriever, and the one sequence that orders all writes and deletes of them.

    Every method raises what the retriever raised, and Unavailable, TimedOut. ``wait_s`` is how long ``reserve``
    waits for a retriever that is away; ``clock`` tells microseconds since the epoch.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        timeout_s: float,
        max_message_mb: int,
        wait_s: float = 5.0,
        clock: Callable[[], int] = microseconds,
    ) -> None:
        self.stub: Any = retriever_pb2_grpc.RetrieverStub(channel)
        self.timeout_s = timeout_s
        self.max_message_mb = max_message_mb
        self.wait_s = wait_s
        self.clock = clock
        self.newest = 0  # of the numbers of writes and deletes here
        self.away = False  # since the last try

    async def number(self, count: int) -> int:
        """The first of ``count`` numbers for writes that will wait in the queue.

        While the retriever is away nobody gets a number from it, and its numbers follow the clock in
        microseconds: those of this process's clock come after all that it gave before, and before all that it
        will give, as long as the clocks differ by less than ``wait_s``. Raises Unavailable or TimedOut where this
        process has had no number yet, and so knows no bound that its clock must be ahead of.
        """
        try:
            first = await self.reserve(count)
        except (Unavailable, TimedOut) as error:
            if not self.newest:
                raise
            first = max(self.newest + 1, self.clock())
            self.newest = first + count - 1
            log.warning("writes are numbered by the clock", reason=error.detail)
        return first

    async def reserve(self, count: int) -> int:
        """Take ``count`` numbers of the sequence; returns the first.

        A retriever that restarts is waited for; while it stays away, only the first caller waits.
        """
        request = pb.ReserveRequest(count=count)
        wait_s = 0.0 if self.away else min(self.wait_s, context.remaining_s(self.wait_s))
        ends_at = time.monotonic() + wait_s
        while True:
            try:
                response: pb.ReserveResponse = await call(self.stub.Reserve, request, timeout_s=self.timeout_s)
            except Unavailable as error:
                if time.monotonic() + AGAIN_S > ends_at:
                    self.away = True
                    raise Unavailable(error.detail, retry_after_s=RETRY_AFTER_S) from error
                await asyncio.sleep(AGAIN_S)
            else:
                self.away = False
                self.newest = max(self.newest, response.first + count - 1)
                return response.first

    async def upsert(self, request: pb.UpsertRequest) -> pb.UpsertResponse:
        """Store one document with its passages; returns when they are searchable.

        Raises TooLarge, and Interrupted where the connection broke rather than that the retriever refused.
        """
        if request.ByteSize() + ENVELOPE_BYTES > self.max_message_mb << 20:
            raise TooLarge(
                f"The document's {len(request.passages)} passages and vectors do not fit in one message of"
                f" {self.max_message_mb} MB (RAGLINE_MAX_MESSAGE_MB); split the document, or raise the limit."
            )
        try:
            response: pb.UpsertResponse = await call(self.stub.Upsert, request, timeout_s=self.timeout_s)
        except Unavailable as error:
            if broken(error.__cause__):
                raise Interrupted(error.detail) from error
            raise
        return response

    async def settle(self, request: pb.SettleRequest) -> pb.SettleResponse:
        """Remove what an earlier version of a file held beside the documents that it holds now."""
        response: pb.SettleResponse = await call(self.stub.Settle, request, timeout_s=self.timeout_s)
        return response

    async def delete(self, tenant: str, collection: str, document_id: str, seq: int) -> pb.DeleteResponse:
        """Remove a document or what came out of a file; returns when no search can find it.

        Writes with a smaller number that still come are stale, also where there was nothing to remove.
        """
        request = pb.DeleteRequest(tenant=tenant, collection=collection, document_id=document_id, seq=seq)
        response: pb.DeleteResponse = await call(self.stub.Delete, request, timeout_s=self.timeout_s)
        return response

    async def known_uris(self, uris: Sequence[str]) -> set[str]:
        """Which of these raw bytes a document is kept of."""
        request = pb.KnownUrisRequest(uris=uris)
        response: pb.KnownUrisResponse = await call(self.stub.KnownUris, request, timeout_s=self.timeout_s)
        return set(response.uris)

    async def get(self, tenant: str, collection: str, document_id: str) -> pb.GetDocumentResponse:
        """The document with its text and passages; raises NotFound."""
        return await self._get(tenant, collection, document_id, brief=False)

    async def brief(self, tenant: str, collection: str, document_id: str) -> pb.GetDocumentResponse | None:
        """The document without text and passages; None when it is not there."""
        try:
            return await self._get(tenant, collection, document_id, brief=True)
        except NotFound:
            return None

    async def page(self, tenant: str, collection: str, limit: int, after: str) -> pb.ListDocumentsResponse:
        """A page of documents by id, from the one behind ``after``."""
        request = pb.ListDocumentsRequest(tenant=tenant, collection=collection, limit=limit, after=after)
        response: pb.ListDocumentsResponse = await call(self.stub.ListDocuments, request, timeout_s=self.timeout_s)
        return response

    async def describe(self, tenant: str, collection: str = "") -> Sequence[pb.CollectionState]:
        """The state of a tenant's collections, or of one; none where there is no such."""
        request = pb.DescribeRequest(tenant=tenant, collection=collection)
        response: pb.DescribeResponse = await call(self.stub.Describe, request, timeout_s=self.timeout_s)
        return response.collections

    async def stage(self, request: pb.StageRequest) -> pb.StageResponse:
        """Keep vectors of another embedder for a document, beside those that are searched by; raises TooLarge."""
        if request.ByteSize() + ENVELOPE_BYTES > self.max_message_mb << 20:
            raise TooLarge(
                f"The vectors of the document {request.document_id!r} do not fit in one message of"
                f" {self.max_message_mb} MB (RAGLINE_MAX_MESSAGE_MB); raise the limit, or split the document."
            )
        response: pb.StageResponse = await call(self.stub.Stage, request, timeout_s=self.timeout_s)
        return response

    async def switch(self, tenant: str, collection: str, fingerprint: str) -> pb.SwitchResponse:
        """Let searches go by what is staged, or hear what is missing; the embedder in use drops what is staged."""
        request = pb.SwitchRequest(tenant=tenant, collection=collection, fingerprint=fingerprint)
        response: pb.SwitchResponse = await call(self.stub.Switch, request, timeout_s=SWITCH_S)
        return response

    async def check(self) -> None:
        """Raise Unavailable unless the retriever answers."""
        request = pb.ListDocumentsRequest(tenant="default", collection="default", limit=1)
        await call(self.stub.ListDocuments, request, timeout_s=CHECK_S)

    async def _get(self, tenant: str, collection: str, document_id: str, *, brief: bool) -> pb.GetDocumentResponse:
        request = pb.GetDocumentRequest(tenant=tenant, collection=collection, document_id=document_id, brief=brief)
        response: pb.GetDocumentResponse = await call(self.stub.GetDocument, request, timeout_s=self.timeout_s)
        return response


def broken(cause: BaseException | None) -> bool:
    """Whether a call failed without an answer of the other side."""
    if not isinstance(cause, grpc.aio.AioRpcError):
        return False
    return all(key != EXTRA_KEY for key, _ in cause.trailing_metadata() or ())
