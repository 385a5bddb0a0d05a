"""Writes in groups: what waited while a group was written is the next one, under the collection's lease."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from ragline.errors import Internal, Mismatch, Overloaded, RaglineError, TooLarge, Unavailable
from services.retriever.stores import Key
from services.retriever.stores._milvus_book import Book, Terms
from services.retriever.stores._milvus_rows import Fields, Row, document_fields, place_of
from services.retriever.stores._milvus_server import Server
from services.retriever.stores._milvus_state import Lease, Lost, Outcome, Shared

FIRST_WAIT_S, LONGEST_WAIT_S = 0.005, 0.1  # between two tries for a lease that another has

log = structlog.get_logger(__name__)

Step = Callable[[Book], Awaitable[Any]]
Again = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Limits:
    """Bounds of what waits (see the settings of these names), and how long a lease is tried for."""

    max_queued_writes: int
    max_queued_bytes: int
    max_group_bytes: int
    lease_wait_s: float


@dataclass
class Operation:
    """A write that waits: what it does to a book, what the book must have read for it, who wants to know."""

    step: Step
    names: frozenset[str]
    files: frozenset[str]
    size: int
    result: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Writer:
    """One group at a time a collection, over all replicas. Belongs to one event loop.

    A group is written so that a reader sees each document whole, before or after, and a crash leaves nothing but
    rows that nobody counts: first the passages, then the documents' rows, each of which makes its version the
    valid one, then the numbers in Redis, and last what went is removed.
    """

    def __init__(self, server: Server, shared: Shared, limits: Limits, terms: Terms, leases: Leases) -> None:
        self.server = server
        self.shared = shared
        self.limits = limits
        self.terms = terms
        self.leases = leases
        self.waiting: dict[Key, list[Operation]] = {}
        self.running: dict[Key, asyncio.Task[None]] = {}
        self.writes = 0
        self.bytes = 0

    async def submit(self, key: Key, operation: Operation) -> Any:
        """The result of a write, once every later search sees it; raises Overloaded where too many wait."""
        if self.writes >= self.limits.max_queued_writes or (
            self.bytes and self.bytes + operation.size > self.limits.max_queued_bytes
        ):
            raise Overloaded(
                f"{self.writes} writes ({self.bytes >> 20} MB) wait already; the limits are "
                "RETRIEVER_MAX_QUEUED_WRITES and RETRIEVER_MAX_QUEUED_MB.",
                retry_after_s=1.0,
            )
        self.writes += 1
        self.bytes += operation.size
        self.waiting.setdefault(key, []).append(operation)
        if key not in self.running:
            self.running[key] = asyncio.create_task(self.work(key))
        return await asyncio.shield(operation.result)

    async def work(self, key: Key) -> None:
        """Write the collection's groups until nothing waits."""
        try:
            while self.waiting.get(key):
                group = self.taken(key)
                try:
                    await self.write(key, group)
                except RaglineError as error:
                    self.fail(group, error)
                except Lost:
                    self.fail(
                        group, Unavailable("Redis lost what it held; send the write again.", retry_after_s=1.0)
                    )
                except Exception as error:  # the boundary of this task: whoever waits must hear of it
                    log.exception("a group of writes failed", tenant=key.tenant, collection=key.collection)
                    self.fail(group, Internal(f"The write failed: {error}"))
                finally:
                    self.writes -= len(group)
                    self.bytes -= sum(each.size for each in group)
        finally:
            self.waiting.pop(key, None)
            del self.running[key]

    def taken(self, key: Key) -> list[Operation]:
        """The writes of the next group."""
        waiting, size = self.waiting[key], 0
        for count, each in enumerate(waiting):
            size += each.size
            if count and size > self.limits.max_group_bytes:
                self.waiting[key] = waiting[count:]
                return waiting[:count]
        self.waiting[key] = []
        return waiting

    def fail(self, group: list[Operation], error: RaglineError) -> None:
        """Give the callers who still wait their error."""
        for each in group:
            if not each.result.done():
                each.result.set_exception(error)

    async def write(self, key: Key, group: list[Operation]) -> None:
        """Do one group and answer it."""
        async with self.leases.held(key, self.limits.lease_wait_s) as lease:
            book = Book(self.server, key, lease.state, self.terms)
            await book.load(
                frozenset().union(*(each.names for each in group)),
                frozenset().union(*(each.files for each in group)),
            )
            results = [await outcome(each, book) for each in group]
            await self.shared.take(0, book.seen)
            if book.touched:
                await self.commit(lease, book)
            for each, result in zip(group, results, strict=True):
                if each.result.done():
                    continue
                if isinstance(result, RaglineError):
                    each.result.set_exception(result)
                else:
                    each.result.set_result(result)

    async def commit(self, lease: Lease, book: Book) -> None:
        """Write what the book holds."""
        rows = [book.rows[name] for name in book.touched]
        fresh = book.fresh
        ids = len(rows) + sum(row.passages + len(fresh[row.name].pieces) for row in rows if row.name in fresh)
        at = await self.shared.begin(lease, ids, list(book.touched))
        passages: dict[int, list[Fields]] = {}
        sources: list[Fields] = []
        placed: list[Row] = []
        for each in rows:
            row, given = each, fresh.get(each.name)
            if given is not None:
                row = replace(each, first=at, source_first=at + each.passages, source_pieces=len(given.pieces))
                at = row.sources.stop
                sources += given.sources(row, book.place)
                if given.passages:
                    passages.setdefault(row.dimensions, []).extend(given.placed(row))
            placed.append(replace(row, version=at))
            at += 1
        await self.server.ready(list(passages))
        await asyncio.gather(
            *(self.server.insert(self.server.passages(each), found) for each, found in passages.items()),
            self.server.insert(self.server.sources, sources),
        )
        await self.shared.extend(lease)
        await self.server.insert(self.server.documents, [document_fields(row, book.key) for row in placed])
        left = Left.of(book)
        counts = {piece: count for piece, count in book.counts.items() if count}
        added = [row.name for row in placed if row.exists]
        removed = [row.name for row in placed if not row.exists]
        await self.shared.finish(lease, book.key, Outcome(book.state, counts, added, removed, left.text()))
        # The answer is due: what is left costs room, not truth, and the next writer would see to it.
        with suppress(Unavailable):
            await left.remove(self.server)
            await self.shared.clear(lease)


@dataclass(frozen=True)
class Left:
    """Rows that nothing needs any more: of documents, of passages by the length of their vectors, of texts."""

    documents: list[int]
    passages: dict[int, list[tuple[int, int]]]
    sources: list[tuple[int, int]]

    @classmethod
    def of(cls, book: Book) -> Left:
        """What a group leaves behind."""
        documents = [row.version for name in book.touched for row in book.old.get(name, ())]
        passages: dict[int, list[tuple[int, int]]] = {}
        for row in book.dead:
            passages.setdefault(row.dimensions, []).append((row.first, row.passages))
        return cls(documents, passages, [(row.source_first, row.source_pieces) for row in book.dead])

    def text(self) -> str:
        """As the next writer reads it."""
        return json.dumps([self.documents, list(self.passages.items()), self.sources])

    @classmethod
    def read(cls, text: str) -> Left:
        """What ``text`` gave."""
        documents, passages, sources = json.loads(text)
        return cls(documents, dict(passages), sources)

    async def remove(self, server: Server) -> None:
        """Take them out."""
        await server.ready()
        for dimensions, found in self.passages.items():
            ids = [at for first, count in found for at in range(first, first + count)]
            await server.delete(server.passages(dimensions), ids)
        ids = [at for first, count in self.sources for at in range(first, first + count)]
        await server.delete(server.sources, ids)
        await server.delete(server.documents, self.documents)


class Leases:
    """Leave to write a collection; what its last holder left undone is done first."""

    def __init__(self, server: Server, shared: Shared, mend: Callable[[Lease, Key], Awaitable[Any]], anew: Again):
        self.server = server
        self.shared = shared
        self.mend = mend
        self.anew = anew

    @asynccontextmanager
    async def held(self, key: Key, wait_s: float) -> AsyncIterator[Lease]:
        """The lease, kept up while what is inside goes on; raises Unavailable where another keeps it too long."""
        lease = await self.acquired(key, wait_s)
        beat = asyncio.create_task(self.beat(lease))
        try:
            if lease.intent:
                await self.finished(lease, key)
                lease = replace(lease, state=(await self.shared.look(lease.place))[1], intent="")
            yield lease
        finally:
            beat.cancel()
            with suppress(RaglineError):  # it ends by itself, too
                await self.shared.release(lease)

    async def acquired(self, key: Key, wait_s: float) -> Lease:
        """The lease, once it is free."""
        await self.server.ready()
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + wait_s, FIRST_WAIT_S
        while True:
            try:
                lease = await self.shared.acquire(place_of(key))
            except Lost:
                await self.anew()
                continue
            if lease is not None:
                return lease
            if loop.time() > until:
                raise Unavailable(
                    f"Another retriever has been writing {key.collection!r} for {wait_s:.0f} s.", retry_after_s=1.0
                )
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - to spread tries, not to hide
            pause = min(LONGEST_WAIT_S, pause * 2)

    async def finished(self, lease: Lease, key: Key) -> None:
        """Do what the last holder left undone: remove what it only had to remove, or look at everything."""
        if lease.intent.startswith("["):
            await Left.read(lease.intent).remove(self.server)
            await self.shared.done(lease)
        else:
            log.warning("a write was cut off; its collection is mended", collection=key.collection)
            await self.mend(lease, key)

    async def beat(self, lease: Lease) -> None:
        """Keep the lease up; where that fails the next step that needs it will say so."""
        while True:
            await asyncio.sleep(self.shared.lease_ms / 3000)
            with suppress(RaglineError):
                await self.shared.extend(lease)


async def outcome(operation: Operation, book: Book) -> Any:
    """A write's answer, or the error that it alone fails with."""
    try:
        return await operation.step(book)
    except (Mismatch, Overloaded, TooLarge) as error:  # raised before anything was done to the book
        return error
