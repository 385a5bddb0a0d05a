"""What the collection holds: one document, a page of them, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragline.errors import NotFound
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.ingest import Parts, remove_blobs


@dataclass(frozen=True)
class Deleted:
    """``generation`` is the first that holds nothing of the document."""

    passages: int
    generation: int


class Documents:
    """The use case behind ``/documents/{id}``.

    A delete wins over every write that was acknowledged before it, also over those still in the queue: it
    takes a number in their sequence, and a write with a smaller one changes nothing any more.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def get(self, tenant: str, collection: str, document_id: str) -> pb.GetDocumentResponse:
        """The document with its passages; raises NotFound."""
        return await self.parts.record.get(tenant, collection, document_id)

    async def page(self, tenant: str, collection: str, limit: int, after: str) -> pb.ListDocumentsResponse:
        """Documents by id, from the one behind ``after``; raises NotFound for an unknown collection."""
        return await self.parts.record.page(tenant, collection, limit, after)

    async def delete(self, tenant: str, collection: str, document_id: str) -> Deleted:
        """Remove a document, or all that came out of a file of many. Raises NotFound.

        On return no search finds it, its bytes and cached vectors are gone, and no earlier write brings it back.
        """
        parts = self.parts
        seq = await parts.jobs.next_seq()
        async with parts.locks.hold((tenant, collection, document_id)):
            response = await parts.record.delete(tenant, collection, document_id)
            if response is None and not await self._expected(tenant, collection, document_id):
                raise NotFound(f"The collection {collection!r} holds no document {document_id!r}.")
            uris, members = await parts.jobs.tombstone(tenant, collection, document_id, seq)
        deleted = [await self._clear(response, uris)]
        deleted += [await self._delete_member(tenant, collection, member, seq) for member in members]
        # Nothing was stored where the write was still in the queue.
        generation = max(part.generation for part in deleted) or await self._generation(tenant, collection)
        return Deleted(sum(part.passages for part in deleted), generation)

    async def _expected(self, tenant: str, collection: str, document_id: str) -> bool:
        """Whether an acknowledged write of this id is on its way, or it is a file that documents came out of."""
        jobs = self.parts.jobs
        return await jobs.open_write(tenant, collection, document_id) or bool(
            await jobs.members(tenant, collection, document_id)
        )

    async def _delete_member(self, tenant: str, collection: str, document_id: str, seq: int) -> Deleted:
        """Remove a document that came out of a file, unless it was sent again, for itself, after the delete."""
        parts = self.parts
        async with parts.locks.hold((tenant, collection, document_id)):
            if not await parts.jobs.current(tenant, collection, [document_id], seq):
                return Deleted(0, 0)
            response = await parts.record.delete(tenant, collection, document_id)
            uris, _ = await parts.jobs.tombstone(tenant, collection, document_id, seq)
        return await self._clear(response, uris)

    async def _clear(self, response: pb.DeleteResponse | None, uris: Sequence[str]) -> Deleted:
        """Remove what else was kept of a deleted document: bytes and cached vectors."""
        await remove_blobs(self.parts.jobs, self.parts.blobs, uris)
        if response is None:
            return Deleted(0, 0)
        await self.parts.embedding.purge(list(response.texts))
        return Deleted(response.passages, response.generation)

    async def _generation(self, tenant: str, collection: str) -> int:
        try:
            return (await self.parts.record.page(tenant, collection, 1, "")).generation
        except NotFound:  # a collection that nothing was ever stored in
            return 0
