"""The store inside the process: SQLite is the record, the dense and sparse indexes follow it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog

from ragline.errors import NotFound, Unavailable
from ragline.settings import SettingsError
from ragline.v1.retriever_pb2 import CollectionState, DocumentSummary, Exported, Finding
from services.retriever.stores import (
    DEFAULT_COLLECTION,
    Content,
    Deleted,
    Kept,
    Key,
    Parts,
    Scope,
    Settled,
    Switched,
    Upserted,
    Vectorised,
)
from services.retriever.stores._builder import Builder
from services.retriever.stores._changes import Changes
from services.retriever.stores._compact import Compaction, trimmed
from services.retriever.stores._describe import states
from services.retriever.stores._export import export
from services.retriever.stores._held import Backends, Held, nothing
from services.retriever.stores._reader import Reader
from services.retriever.stores._record import Record
from services.retriever.stores._rows import Change, Collection
from services.retriever.stores._schema import create
from services.retriever.stores._snapshot import Snapshot
from services.retriever.stores._staging import Staging
from services.retriever.stores._turning import turned
from services.retriever.stores._verify import Verification
from services.retriever.stores._writer import Limits, Step, Writer

MB = 1 << 20
NAMED_IN_ERRORS = 20
PURGED_AT_ONCE = 4096  # documents in one transaction, for which others wait
PASSAGE_BYTES = 200  # of a passage's row beside its text and vector, about

log = structlog.get_logger(__name__)


def load(
    parts: Parts,
    *,
    max_queued_writes: int = 1024,
    max_queued_mb: int = 256,
    max_group_mb: int = 64,
    max_collections: int = 1000,
    max_removed_mb: int = 16,
    tombstone_ttl_s: float = 30 * 86_400,
) -> EmbeddedStore:
    """Open the store in ``parts.folder``; raises SettingsError where another process has it."""
    limits = Limits(max_queued_writes, max_queued_mb * MB, max_group_mb * MB)
    return EmbeddedStore(parts, limits, max_collections, room=max_removed_mb * MB, ttl_s=tombstone_ttl_s)


class EmbeddedStore:
    """See ``Store``."""

    local = True  # a view is a value in memory

    def __init__(self, parts: Parts, limits: Limits, max_collections: int, *, room: int, ttl_s: float) -> None:
        parts.folder.mkdir(parents=True, exist_ok=True)
        self.lock = locked(parts.folder / "lock")
        try:
            self.file = parts.folder / "record.db"
            self.record = Record(create(self.file), max_collections)
            self.reader = Reader(self.file)
        except BaseException:
            os.close(self.lock)
            raise
        self.changes = Changes(self.record, room=room, ttl_s=ttl_s)
        self.staging = Staging(self.record, self.changes)
        self.backends = Backends(parts.folder, parts.sparse, parts.dense)
        self.nothing = nothing(self.reader, parts.dense)
        self.held: dict[Key, Held] = {}
        self.by_id: dict[int, Held] = {}
        self.unsettled: set[int] = set()  # collections whose checkpoint or purge may be due
        self.open_all(parts.folder)
        self.writer = Writer(self.record, limits, self.follow, self.tidy)
        self.builder = Builder(parts.dense, self.writer.submit)
        for held in self.by_id.values():
            self.builder.wake(held)
        self.writer.start()
        self.builder.start()

    def open_all(self, folder: Path) -> None:
        """Bring all collections into memory; raises SettingsError where the record cannot be read."""
        try:
            for collection in self.record.collections():
                self.hold(collection)
        except sqlite3.DatabaseError as error:
            raise SettingsError(
                f"The record in {folder} is damaged ({error}); restore it from a backup."
            ) from error

    def hold(self, collection: Collection) -> Held:
        """Bring a collection that the record has into memory."""
        held = Held.open(collection, self.record, self.reader, self.backends)
        self.by_id[collection.id] = held
        if self.record.holds_dead(collection.id):
            self.unsettled.add(collection.id)
        self.held[collection.key] = held
        log.info(
            "collection opened",
            tenant=collection.key.tenant,
            collection=collection.key.collection,
            passages=held.current.passages,
            generation=collection.generation,
        )
        return held

    def view(self, key: Key) -> Snapshot:
        """The collection as it is now; see ``Store``."""
        held = self.held.get(key)
        if held is not None:
            return held.current
        if key.collection == DEFAULT_COLLECTION:
            return self.nothing
        known = sorted({DEFAULT_COLLECTION, *(k.collection for k in list(self.held) if k.tenant == key.tenant)})
        names = ", ".join(known[:NAMED_IN_ERRORS]) + (", …" if len(known) > NAMED_IN_ERRORS else "")
        raise NotFound(f"There is no collection {key.collection!r}; there are: {names}.", field="collection")

    async def reserve(self, count: int) -> int:
        """Numbers for writes to come, out of memory but for one in many; see ``Store``."""
        first = self.record.numbers.take(count)
        if first is None:
            first = await self.write(lambda _: self.changes.reserve(count), 0)
        return int(first)

    async def upsert(self, key: Key, content: Content, *, seq: int = 0, container: str = "") -> Upserted:
        """Put a document in place of what had its id; see ``Store``."""
        size = content.document.ByteSize() + content.vectors.nbytes + sum(map(len, content.token_ids))
        size += sum(passage.ByteSize() + PASSAGE_BYTES for passage in content.passages)
        place = (container, seq)

        def step(known: dict[int, int]) -> tuple[Upserted, Change | None]:
            self.staging.admit(key, content.fingerprint)
            return self.changes.upsert(key, content, place, known)

        done: Upserted = await self.write(step, size)
        return done

    async def settle(self, key: Key, container: str, document_ids: Sequence[str], *, seq: int = 0) -> Settled:
        """Remove what earlier versions of a file left; see ``Store``."""
        kept = frozenset(document_ids)
        size = sum(map(len, document_ids))
        done: Settled = await self.write(lambda known: self.changes.settle(key, container, seq, kept, known), size)
        return done

    async def delete(self, key: Key, document_id: str, *, seq: int = 0) -> Deleted:
        """Take a document, or a file's, out; see ``Store``."""
        done: Deleted = await self.write(lambda known: self.changes.delete(key, document_id, seq, known), 0)
        return done

    async def stage(self, key: Key, document_id: str, seq: int, given: Vectorised) -> bool:
        """Keep vectors of another embedder; see ``Store``."""
        size = given.vectors.nbytes + sum(map(len, given.token_ids))
        stale: bool = await self.write(lambda _: self.staging.stage(key, document_id, seq, given), size)
        return stale

    async def switch(self, key: Key, fingerprint: str) -> Switched:
        """Search by the staged vectors; see ``Store``."""
        done: Switched = await self.write(lambda known: self.staging.switch(key, fingerprint, known), 0)
        return done

    async def write(self, step: Step, size: int) -> Any:
        """Hand a step to the writer and wait for it."""
        return await asyncio.wrap_future(self.writer.submit(step, size))

    def known_uris(self, uris: Sequence[str]) -> list[str]:
        """Those that a document is kept of; see ``Store``."""
        return self.reader.known_uris(uris)

    def document(self, key: Key, document_id: str, *, brief: bool) -> Kept:
        """A document, whole or in brief; see ``Store``."""
        found = self.reader.document(key, document_id, brief=brief)
        if found is None:
            raise NotFound(f"The collection {key.collection!r} has no document {document_id!r}.")
        return found

    def documents(self, key: Key, limit: int, after: str) -> list[DocumentSummary]:
        """A page of documents, by id; see ``Store``."""
        collection = self.view(key).collection
        return self.reader.documents(collection, limit, after) if collection else []

    def states(self, scope: Scope) -> list[CollectionState]:
        """What there is; see ``Store``."""
        return states(self.held, self.reader, scope)

    def export(self, scope: Scope) -> Iterator[Exported]:
        """Everything as it was at one moment; see ``Store``."""
        return export(self.file, scope)

    def verify(self, scope: Scope, *, mend: bool) -> Iterator[Finding]:
        """What does not agree; see ``Store``."""
        parts = (self.record, self.writer, self.builder, self.backends.sparse)
        verification = Verification(self.file.parent, *parts)
        return verification.findings(dict(self.held), scope, mend=mend)

    def compact(self, scope: Scope) -> tuple[int, int]:
        """Give back room; see ``Store``."""
        chosen = [held for key, held in list(self.held.items()) if scope.holds(key)]
        return Compaction(self.file.parent, self.record, self.writer).run(chosen)

    def follow(self, changes: dict[int, list[Change]], generations: dict[int, int]) -> None:
        """Make a group's changes searchable (the writer's thread)."""
        for identity, group in changes.items():
            self.unsettled.add(identity)
            held = self.by_id.get(identity)
            if held is None:
                collection = self.record.collection(group[-1].collection.key)
                assert collection is not None  # noqa: S101 - the group has just written to it
                self.hold(collection)
            elif any(change.switched for change in group):
                held.publish(turned(held, group, generations[identity]))
            else:
                held.follow(group, generations[identity])
            self.builder.wake(self.by_id[identity])

    def tidy(self, idle: bool) -> bool:
        """Note how far the sparse indexes are, purge what no reader can ask for any more, forget old numbers."""
        changed = self.changes.prune()
        changed |= idle and trimmed(self.record.db)
        version = self.backends.sparse.version
        for identity in list(self.unsettled):
            held = self.by_id[identity]
            oldest, newest = held.oldest(), held.current.generation
            dead = self.record.holds_dead(identity)
            noted = held.current.searcher is None or self.record.checkpoint(identity) == (version, newest)
            if noted and not dead:
                self.unsettled.discard(identity)  # only what a transaction before this one has seen through
                continue
            if idle and not dead:
                continue  # the next group notes how far the index is; nobody waits for it
            if not noted:
                self.record.set_checkpoint(identity, version, newest)
            purged = self.record.purge(identity, oldest, PURGED_AT_ONCE)
            changed |= bool(purged) or not noted
        return changed

    def check(self) -> None:
        """Raise where writes can no longer be taken."""
        if not self.writer.healthy:
            raise Unavailable("The store's writer failed; restart the service, its log says what happened.")

    def close(self) -> None:
        """Finish the writes in hand, note how far the indexes are, let go of the files."""
        self.builder.close()
        self.writer.close()
        for held in self.by_id.values():
            held.texts.close()
            held.put_away()
        if self.writer.healthy:
            self.rest()
        self.reader.close()
        self.record.db.close()
        os.close(self.lock)

    def rest(self) -> None:
        """The last housekeeping."""
        self.record.db.execute("BEGIN IMMEDIATE")
        self.tidy(False)
        self.record.db.execute("COMMIT")


def locked(file: Path) -> int:
    """An open descriptor that holds the folder's lock; raises SettingsError where another process has it.

    The kernel lets go of it when the process ends, however it ends. Containers that share a volume share it.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise SettingsError(
            f"Another retriever{holder and f' ({holder})'} has {file.parent} open, and the embedded store has one "
            "writer: stop it, or give this one another RETRIEVER_DATA_DIR; retrievers side by side need a store "
            "that is a server, such as Milvus (RETRIEVER_STORE)."
        ) from None
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return descriptor
