"""Which embedder each collection is searched by, and the start of a change to another one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from ragline import context
from ragline.broker import Broker
from ragline.errors import Conflict, Mismatch, NotFound, Unavailable
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.job_stores import JobStore
from services.preprocess.jobs import Head, NewDocument, Work
from services.preprocess.loaded import Loaded
from services.preprocess.messages import QUEUE, packed
from services.preprocess.record import Record

WHOLE = NewDocument("")
"""Stands for the collection where a document would stand; no document has this id."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Begun:
    """The collection, the embedder that it is to have, and the job of it; no job where nothing is to be done."""

    state: pb.CollectionState
    target: str
    job_id: str = ""
    degraded: tuple[str, ...] = ()


class EmbedderChanges:
    """The use case behind ``/collections``."""

    def __init__(self, record: Record, jobs: JobStore, broker: Broker, loaded: Loaded) -> None:
        self.record = record
        self.jobs = jobs
        self.broker = broker
        self.loaded = loaded

    async def states(self, tenant: str) -> Sequence[pb.CollectionState]:
        """All collections of a tenant, by name."""
        return await self.record.describe(tenant)

    async def state(self, tenant: str, collection: str) -> pb.CollectionState:
        """One collection; raises NotFound."""
        found = await self.record.describe(tenant, collection)
        if not found:
            raise NotFound(f"There is no collection {collection!r}.", field="collection")
        return found[0]

    async def begin(self, tenant: str, collection: str) -> Begun:
        """Embed a collection by the next embedder, or by the first where that is all there is; durable on return.

        Raises NotFound, Mismatch where there is no other embedder, Conflict while such a job is open, Overloaded,
        Unavailable.
        """
        state = await self.state(tenant, collection)
        target = self.loaded.target(state.fingerprint)
        if target is None:
            raise Mismatch(
                f"The collection {collection!r} is searched by the one embedder that is loaded, "
                f"{state.fingerprint!r}. Start preprocess with PREPROCESS_NEXT_EMBEDDER set to the one that it "
                "is to have."
            )
        fingerprint = target.embedder.fingerprint
        if fingerprint == state.fingerprint:
            return Begun(state, fingerprint)
        if await self._open(tenant, collection):
            raise Conflict(f"The collection {collection!r} is being embedded again already; wait for its job.")
        head = Head(f"job-{uuid.uuid4().hex}", tenant, collection, 1, time.time())
        await self.broker.publish(
            QUEUE, [packed(Work(head, 0, 0, WHOLE, target=fingerprint), context.request_id())]
        )
        try:
            await self.jobs.create(head, [WHOLE])
        except Unavailable as error:
            log.warning("progress cannot be noted", job=head.id, reason=error.detail)
            return Begun(state, fingerprint, head.id, ("jobs",))
        return Begun(state, fingerprint, head.id)

    async def _open(self, tenant: str, collection: str) -> bool:
        """Whether such a job is known to be open; two at once would do no harm but double work."""
        try:
            return await self.jobs.open_write(tenant, collection, WHOLE.id)
        except Unavailable as error:
            log.warning("open jobs cannot be asked for", reason=error.detail)
            return False
