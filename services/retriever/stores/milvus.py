"""The store in Milvus: many retrievers over one collection of passages, what they share in Redis."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ragline import context, redis_client
from ragline.breaker import Breaker
from ragline.errors import InvalidRequest, NotFound, Unavailable
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
from services.retriever.stores._milvus_admin import Admin
from services.retriever.stores._milvus_audit import Mending
from services.retriever.stores._milvus_book import Book, Terms, quoted
from services.retriever.stores._milvus_loop import Loop
from services.retriever.stores._milvus_rows import (
    ROW_FIELDS,
    Fresh,
    Row,
    fresh,
    hashed,
    name_key,
    passage_of,
    place_of,
    row_of,
)
from services.retriever.stores._milvus_server import Address, Options, Server
from services.retriever.stores._milvus_state import Shared, State
from services.retriever.stores._milvus_terms import Analysis
from services.retriever.stores._milvus_view import MilvusView, text_of
from services.retriever.stores._milvus_writer import Leases, Limits, Operation, Writer

MB = 1 << 20
NAMED_IN_ERRORS = 20
NAMES_AT_ONCE = 1000
CLOSE_S = 120.0
COMPACT_S = 3600.0
ONE_EMBEDDER = (
    "Milvus keeps vectors of one embedder in a collection: ingest the documents into another collection with the "
    "new embedder, then let searches name that one."
)

T = TypeVar("T")


@dataclass(frozen=True)
class Bounds:
    """The settings of these names; a lease of ``lease_s`` is another's when its holder shows no life so long."""

    max_queued_writes: int = 1024
    max_queued_mb: int = 256
    max_group_mb: int = 64
    max_collections: int = 1000
    max_removed_mb: int = 16
    tombstone_ttl_s: float = 30 * 86_400
    lease_s: float = 15.0
    lease_wait_s: float = 30.0

    def limits(self) -> Limits:
        """Of the writer."""
        return Limits(self.max_queued_writes, self.max_queued_mb * MB, self.max_group_mb * MB, self.lease_wait_s)


def load(parts: Parts, *, url: str = "", state_url: str = "", **options: Any) -> MilvusStore:
    """Connects when it is first used, so that a retriever starts while Milvus is away.

    ``options`` are those of ``Bounds`` and of ``Options``. Raises SettingsError.
    """
    if not url or not state_url:
        raise SettingsError(
            "RETRIEVER_STORE=milvus needs RETRIEVER_MILVUS_URL (http://host:19530) and RETRIEVER_STATE_URL "
            "(redis://host:6379/0)."
        )
    bounds = {field.name: options.pop(field.name) for field in fields(Bounds) if field.name in options}
    try:
        given = TypeAdapter(Bounds).validate_python(bounds), TypeAdapter(Options).validate_python(options)
    except ValidationError as error:
        fault = error.errors()[0]
        raise SettingsError(f"RETRIEVER_STORE_OPTIONS: {fault['loc'][-1]!r}: {fault['msg']}") from None
    if unknown := options.keys() - {field.name for field in fields(Options)}:
        raise SettingsError(f"RETRIEVER_STORE_OPTIONS: the store milvus has no option {min(unknown)!r}.")
    # It prints what we log ourselves, with a stack trace each.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return MilvusStore(Address.of(url), redis_client.address_of(state_url), *given)


class MilvusStore:
    """See ``Store``. All that talks runs on one event loop in a thread of its own."""

    local = False

    def __init__(self, address: Address, state: redis_client.Address, bounds: Bounds, options: Options) -> None:
        self.analysis = Analysis()
        self.known: dict[Key, tuple[str, State]] = {}  # what Redis said last, for when it is away
        self.loop = Loop("retriever-milvus")
        self.loop.wait(self.open(address, state, bounds, options), timeout_s=30)

    async def open(self, address: Address, state: redis_client.Address, bounds: Bounds, options: Options) -> None:
        """Make the clients, which belong to the loop."""
        self.server = Server(address, options)
        self.redis = redis_client.Server(redis_client.connect(state), state, Breaker(state.name))
        self.shared = Shared(self.redis, options.name, bounds.lease_s)
        self.mending = Mending(self.server, self.shared)
        leases = Leases(self.server, self.shared, self.mending.mend, self.mending.anew)
        terms = Terms(bounds.max_removed_mb * MB, bounds.max_collections, self.collections, self.number)
        self.writer = Writer(self.server, self.shared, bounds.limits(), terms, leases)
        self.admin = Admin(self.server, self.shared, leases, self.mending, bounds.tombstone_ttl_s)

    def view(self, key: Key) -> MilvusView:
        """The collection as it is now; see ``Store``."""
        end = context.deadline()

        def wait(work: Any) -> Any:
            with context.bind(timeout_s=None if end is None else max(0.001, end - time.monotonic())):
                return self.loop.wait(work)

        epoch, state = self.loop.wait(self.state(key))
        return MilvusView(self.server, self.shared, wait, self.analysis, (place_of(key), epoch, state))

    async def state(self, key: Key) -> tuple[str, State]:
        """The collection's epoch and state.

        While Redis is away, what it said last under an epoch that no cache has ever kept anything of.
        """
        try:
            epoch, state = await self.mending.sure(lambda: self.shared.look(place_of(key)))
        except Unavailable:
            if key not in self.known:
                raise
            return uuid.uuid4().hex, self.known[key][1]
        if not state.generation and key.collection != DEFAULT_COLLECTION:
            raise NotFound(await self.missing(key), field="collection")
        if state.generation:
            self.known[key] = epoch, state
        return epoch, state

    async def missing(self, key: Key) -> str:
        """What to say of a collection that is not there."""
        every = (await self.shared.collections()).values()
        known = sorted({DEFAULT_COLLECTION, *(each.collection for each in every if each.tenant == key.tenant)})
        names = ", ".join(known[:NAMED_IN_ERRORS]) + (", …" if len(known) > NAMED_IN_ERRORS else "")
        return f"There is no collection {key.collection!r}; there are: {names}."

    async def collections(self) -> int:
        """How many there are."""
        return len(await self.shared.collections())

    async def number(self, seen: int) -> int:
        """The next number above one that was seen."""
        return await self.shared.take(1, seen)

    async def reserve(self, count: int) -> int:
        """Numbers for writes to come; see ``Store``."""
        return await self.loop.result(self.mending.sure(lambda: self.shared.take(count)))

    async def upsert(self, key: Key, content: Content, *, seq: int = 0, container: str = "") -> Upserted:
        """Put a document in place of what had its id; see ``Store``. Raises TooLarge, too."""
        name = content.document.id
        size = content.document.ByteSize() + content.vectors.nbytes + sum(map(len, content.token_ids))
        size += sum(passage.ByteSize() for passage in content.passages)
        files = {name} if container != name else set[str]()

        async def submit() -> Upserted:
            # Begun now, awaited in its turn: writes keep the order that they came in.
            given = asyncio.ensure_future(asyncio.to_thread(self.prepared, key, content, container))

            async def step(book: Book) -> Upserted:
                return await book.upsert(await given, container, seq)

            return await self.write(key, step, {name, container}, files, size)

        return await self.loop.result(submit())

    def prepared(self, key: Key, content: Content, container: str) -> Fresh:
        """The document as it is going to be written (in a thread); raises TooLarge."""
        terms = [self.analysis.passage(content.document.title, each) for each in content.passages]
        return fresh(key, content, terms, container)

    async def settle(self, key: Key, container: str, document_ids: Sequence[str], *, seq: int = 0) -> Settled:
        """Remove what earlier versions of a file left; see ``Store``."""
        kept = frozenset(document_ids)
        size = sum(map(len, document_ids))
        work = self.write(key, lambda book: book.settle(container, kept, seq), {container}, {container}, size)
        return await self.loop.result(work)

    async def delete(self, key: Key, document_id: str, *, seq: int = 0) -> Deleted:
        """Take a document, or a file's, out; see ``Store``."""
        work = self.write(key, lambda book: book.delete(document_id, seq), {document_id}, {document_id}, 0)
        return await self.loop.result(work)

    async def write(
        self, key: Key, step: Callable[[Book], Awaitable[T]], names: set[str], files: set[str], size: int
    ) -> T:
        """Hand a write to the writer and wait for it (on the loop)."""
        operation = Operation(step, frozenset(names - {""}), frozenset(files), size)
        done: T = await self.writer.submit(key, operation)
        return done

    async def stage(self, key: Key, document_id: str, seq: int, given: Vectorised) -> bool:
        """Milvus' collections hold vectors of one embedder; see ``Store``."""
        raise InvalidRequest(ONE_EMBEDDER)

    async def switch(self, key: Key, fingerprint: str) -> Switched:
        """Milvus' collections hold vectors of one embedder; see ``Store``."""
        raise InvalidRequest(ONE_EMBEDDER)

    def known_uris(self, uris: Sequence[str]) -> list[str]:
        """Those that a document is kept of; see ``Store``."""
        known = self.loop.wait(self.uris(uris)) if uris else set()
        return [uri for uri in uris if uri in known]

    async def uris(self, uris: Sequence[str]) -> set[str]:
        """Those of ``uris`` that a row names; one that was replaced while nobody cleaned up counts, too."""
        await self.server.ready()
        keys, known = sorted({hashed(uri) for uri in uris if uri}), set[str]()
        for start in range(0, len(keys), NAMES_AT_ONCE):
            chosen = f"uri_key in {quoted(keys[start : start + NAMES_AT_ONCE])}"
            found = await self.server.query(self.server.documents, chosen, ROW_FIELDS)
            known.update(row_of(each).uri for each in found)
        return known

    def document(self, key: Key, document_id: str, *, brief: bool) -> Kept:
        """A document, whole or in brief; see ``Store``."""
        found = self.loop.wait(self.read(key, document_id, brief))
        if found is None:
            raise NotFound(f"The collection {key.collection!r} has no document {document_id!r}.")
        return found

    async def read(self, key: Key, name: str, brief: bool) -> Kept | None:
        """A document as it is stored; read again where it was replaced meanwhile."""
        while True:
            row = (await self.rows(key, [name])).get(name)
            if row is None or not row.exists:
                return None
            document = row.document()
            if brief:
                return Kept(document, [], row.seq)
            document.source = await text_of(self.server, row)
            passages = []
            if row.passages:
                collection = self.server.passages(row.dimensions)
                found = await self.server.rows(collection, row.rows, ["id", "body"])
                found.sort(key=lambda each: int(each["id"]))
                passages = [passage_of(row, int(each["id"]), each["body"]) for each in found]
            if len(passages) == row.passages or (await self.rows(key, [name])).get(name) == row:
                return Kept(document, passages, row.seq)

    async def rows(self, key: Key, names: Sequence[str]) -> dict[str, Row]:
        """What these ids stand for."""
        await self.server.ready()
        place, found = place_of(key), dict[str, Row]()
        for start in range(0, len(names), NAMES_AT_ONCE):
            keys = [name_key(place, name) for name in names[start : start + NAMES_AT_ONCE]]
            chosen = f'place == "{place}" and name_key in {quoted(keys)}'
            for row in map(row_of, await self.server.query(self.server.documents, chosen, ROW_FIELDS)):
                if row.name not in found or found[row.name].version < row.version:
                    found[row.name] = row
        return found

    def documents(self, key: Key, limit: int, after: str) -> list[DocumentSummary]:
        """A page of documents, by id; see ``Store``."""
        self.view(key)
        return self.loop.wait(self.page(key, limit, after))

    async def page(self, key: Key, limit: int, after: str) -> list[DocumentSummary]:
        """The documents of the ids that Redis has in order."""
        names = await self.mending.sure(lambda: self.shared.names(place_of(key), after, limit))
        rows = await self.rows(key, names)
        return [rows[name].summary() for name in names if name in rows and rows[name].exists]

    def states(self, scope: Scope) -> list[CollectionState]:
        """What there is; see ``Store``."""
        return self.loop.wait(self.mending.sure(lambda: self.admin.states(scope)))

    def export(self, scope: Scope) -> Iterator[Exported]:
        """Everything, each document whole; see ``Store``. It is of no one moment, as Milvus has no snapshots."""
        return self.loop.iterate(self.admin.export(scope, self.rows))

    def verify(self, scope: Scope, *, mend: bool) -> Iterator[Finding]:
        """What does not agree; see ``Store``."""
        return self.loop.iterate(self.admin.verify(scope, mend=mend))

    def compact(self, scope: Scope) -> tuple[int, int]:
        """Remove what nothing counts; see ``Store``. Milvus does not say what it takes on its disks: 0 and 0."""
        self.loop.wait(self.admin.compact(scope), timeout_s=COMPACT_S)
        return 0, 0

    def check(self) -> None:
        """Raise Unavailable while Milvus or Redis is away."""
        self.loop.wait(self.checked())

    async def checked(self) -> None:
        """Ask both something small."""
        await self.server.ready()
        await self.server.call(lambda client: client.has_collection(self.server.documents, retry_times=0))
        await self.mending.sure(self.shared.epoch)

    def close(self) -> None:
        """Finish the writes in hand, let go of the connections."""
        self.loop.wait(self.ended(), timeout_s=CLOSE_S)
        self.loop.close()

    async def ended(self) -> None:
        """Wait for the writers, then close what they used."""
        while self.writer.running:
            await asyncio.wait(list(self.writer.running.values()))
        await self.server.close()
        await self.redis.close()
