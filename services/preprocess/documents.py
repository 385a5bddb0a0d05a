"""What the collection holds: one document, a page of them, and their removal."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from ragline.errors import NotFound, Unavailable
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.blobs import Blobs
from services.preprocess.job_stores import JobStore
from services.preprocess.loaded import Loaded
from services.preprocess.record import Record

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Deleted:
    """``generation`` is the first that holds nothing of the document."""

    passages: int
    generation: int


class Documents:
    """The use case behind ``/documents/{id}``. ``pipeline`` is the hash of how documents are cut and embedded.

    A delete wins over every write that was acknowledged before it, also over those still in the queue: it
    takes a number in their sequence, and a write with a smaller one changes nothing any more.
    """

    def __init__(self, record: Record, jobs: JobStore, blobs: Blobs, loaded: Loaded, *, pipeline: str) -> None:
        self.record = record
        self.jobs = jobs
        self.blobs = blobs
        self.loaded = loaded
        self.pipeline = pipeline

    async def get(self, tenant: str, collection: str, document_id: str) -> pb.GetDocumentResponse:
        """The document with its passages; raises NotFound."""
        return await self.record.get(tenant, collection, document_id)

    async def page(self, tenant: str, collection: str, limit: int, after: str) -> pb.ListDocumentsResponse:
        """Documents by id, from the one behind ``after``; raises NotFound for an unknown collection."""
        return await self.record.page(tenant, collection, limit, after)

    async def delete(self, tenant: str, collection: str, document_id: str) -> Deleted:
        """Remove a document, or all that came out of a file of many.

        On return no search finds it, its bytes and cached vectors are gone, and no earlier write brings it back.
        Raises NotFound where there was nothing and no write of it is known to be on its way; should there be
        one all the same, it comes too late.
        """
        # Asked first: a write that is stored in between is then found by the delete.
        expected = await self._expected(tenant, collection, document_id)
        seq = await self.record.reserve(1)
        response = await self.record.delete(tenant, collection, document_id, seq)
        for uri in response.orphaned_uris:
            await self.blobs.remove(uri)
        if response.removed_texts:
            await self.loaded.purge(list(response.removed_texts))
        if not (response.found or expected):
            raise NotFound(f"The collection {collection!r} holds no document {document_id!r}.")
        return Deleted(response.passages, response.generation)

    async def _expected(self, tenant: str, collection: str, document_id: str) -> bool:
        """Whether a write of this id is known to be on its way."""
        try:
            return await self.jobs.open_write(tenant, collection, document_id)
        except Unavailable as error:
            log.warning("open writes cannot be asked for", reason=error.detail)
            return False
