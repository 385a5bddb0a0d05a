"""Looks after a store in Milvus: what there is, whether it agrees, everything out of it, room given back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import numpy as np

from ragline.errors import Unavailable
from ragline.exports import Checksum
from ragline.v1.retriever_pb2 import CollectionState, Exported, ExportedDocument, ExportedEnd, Finding
from services.retriever.stores import Key, Scope
from services.retriever.stores._milvus_audit import Audit, Mending, audit
from services.retriever.stores._milvus_rows import Row, passage_of, place_of, stripped, unwrapped
from services.retriever.stores._milvus_server import Server
from services.retriever.stores._milvus_state import Lease, Shared, State
from services.retriever.stores._milvus_view import text_of
from services.retriever.stores._milvus_writer import Leases

Rows = Callable[[Key, Sequence[str]], Awaitable[dict[str, Row]]]  # what ids stand for

LEASE_WAIT_S = 60.0
NAMES = 500  # ids asked for at a time
NAMED = 5  # in a finding


class Admin:
    """The part of the store that is asked seldom. Belongs to one event loop."""

    def __init__(self, server: Server, shared: Shared, leases: Leases, mending: Mending, ttl_s: float) -> None:
        self.server = server
        self.shared = shared
        self.leases = leases
        self.mending = mending
        self.ttl_s = ttl_s

    async def keys(self, scope: Scope) -> list[Key]:
        """The collections meant, by tenant and name."""
        await self.mending.sure(self.shared.epoch)
        every = (await self.shared.collections()).values()
        return sorted((key for key in every if scope.holds(key)), key=lambda key: (key.tenant, key.collection))

    async def states(self, scope: Scope) -> list[CollectionState]:
        """What there is; Milvus does not say what it takes."""
        return [await self.state(key) for key in await self.keys(scope)]

    async def state(self, key: Key) -> CollectionState:
        """One collection's."""
        _, state = await self.shared.look(place_of(key))
        return CollectionState(
            tenant=key.tenant,
            collection=key.collection,
            **vars(state),
            dense_tier=self.server.options.index.lower(),
        )

    async def export(self, scope: Scope, rows: Rows) -> AsyncIterator[Exported]:
        """Each collection's documents by id, each whole, as it is when its turn comes: Milvus has no snapshots."""
        for key in await self.keys(scope):
            state = await self.state(key)
            yield Exported(begin=state)
            checksum, after = Checksum(), ""
            while names := await self.shared.names(place_of(key), after, NAMES):
                found = await rows(key, names)
                for name in names:
                    document = await self.exported(key, found.get(name), rows)
                    if document is not None:
                        checksum.add(document)
                        yield Exported(document=document)
                after = names[-1]
            counts = {"documents": checksum.documents, "passages": checksum.passages}
            yield Exported(end=ExportedEnd(**counts, checksum=checksum.hexdigest()))

    async def exported(self, key: Key, row: Row | None, rows: Rows) -> ExportedDocument | None:
        """A document with all that was made of it; None where it is gone. Raises Unavailable for a damaged one."""
        while row is not None and row.exists:
            made = await self.whole(row)
            if len(made.passages) == row.passages:
                return made
            again = (await rows(key, [row.name])).get(row.name)
            if again == row:
                raise Unavailable(f"The document {row.name!r} of {key.collection!r} lacks passages in Milvus.")
            row = again
        return None

    async def whole(self, row: Row) -> ExportedDocument:
        """What Milvus holds of a document now."""
        document = row.document()
        document.source = await text_of(self.server, row)
        made = ExportedDocument(document=document, seq=row.seq, container=row.container)
        if not row.passages:
            return made
        fields = ["id", "body", "tokens", "vector"]
        found = await self.server.rows(self.server.passages(row.dimensions), row.rows, fields)
        found.sort(key=lambda each: int(each["id"]))
        made.fingerprint, made.dimensions = row.fingerprint, row.dimensions
        made.passages.extend(stripped(passage_of(row, int(each["id"]), each["body"])) for each in found)
        made.token_ids.extend(unwrapped(each["tokens"]) for each in found)
        made.vectors = np.array([each["vector"] for each in found], dtype="<f4").tobytes()
        return made

    async def verify(self, scope: Scope, *, mend: bool) -> AsyncIterator[Finding]:
        """What does not agree, a collection at a time, whose writes wait meanwhile."""
        for key in await self.keys(scope):
            async with self.leases.held(key, LEASE_WAIT_S) as lease:
                found = await audit(self.server, key)
                findings = await self.findings(lease, found)
                if mend and findings:
                    await self.mending.mend(lease, key, found)
            for part, what, count, mendable in findings:
                yield Finding(
                    tenant=key.tenant,
                    collection=key.collection,
                    part=part,
                    what=what,
                    count=count,
                    mended=mend and mendable,
                )

    async def findings(self, lease: Lease, found: Audit) -> list[tuple[str, str, int, bool]]:
        """Part, sentence, count, and whether it can be mended from what is there."""
        orphans = sum(map(len, found.orphans.values()))
        findings = [
            ("record", f"Documents lack passages: {named(found.incomplete)}.", len(found.incomplete), False),
            ("record", "Rows of documents were replaced and are still there.", len(found.dead), True),
            ("record", "Passages belong to no document.", orphans, True),
            ("record", "Pieces of text belong to no document.", len(found.lost_sources), True),
        ]
        wanted, known = found.state(lease.state), lease.state
        if wanted != known:
            findings.append(("statistics", f"Redis says {brief(known)}, Milvus {brief(wanted)}.", 1, True))
        counts = await self.shared.all_counts(lease.place)
        wrong = sum(
            1 for piece in counts.keys() | found.counts.keys() if counts.get(piece, 0) != found.counts[piece]
        )
        findings.append(("statistics", "Word pieces are counted wrongly.", wrong, True))
        return [each for each in findings if each[2]]

    async def compact(self, scope: Scope) -> None:
        """Remove what nothing counts, and forget numbers of writes to what was deleted long ago."""
        for key in await self.keys(scope):
            async with self.leases.held(key, LEASE_WAIT_S) as lease:
                found = await audit(self.server, key)
                needed = {row.container for row in found.documents}
                before = time.time() - self.ttl_s
                for name, row in list(found.rows.items()):
                    if not row.exists and row.stamp_at < before and name not in needed:
                        found.dead.append(found.rows.pop(name))
                await self.mending.mend(lease, key, found)


def named(names: Sequence[str]) -> str:
    """Some of them."""
    return ", ".join(map(repr, names[:NAMED])) + (", …" if len(names) > NAMED else "")


def brief(state: State) -> str:
    """A state in a finding."""
    return f"{state.documents:,} documents, {state.passages:,} passages, generation {state.generation}"
