"""Looks at all that Milvus holds of a collection: what no document counts any more, what Redis should say."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import structlog

from ragline.errors import RaglineError, Unavailable
from services.retriever.stores import Key
from services.retriever.stores._milvus_rows import (
    ROW_FIELDS,
    Row,
    document_fields,
    key_of,
    place_of,
    row_of,
    unwrapped,
)
from services.retriever.stores._milvus_server import Server
from services.retriever.stores._milvus_state import Lease, Lost, Shared, State

MENDING_S = 30.0  # for which one retriever has the work of making everything anew, and says so again and again
POLL_S = 0.05

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass
class Audit:
    """What was found. ``incomplete`` documents lack passages, which only their sender has."""

    key: Key
    rows: dict[str, Row] = field(default_factory=dict)
    dead: list[Row] = field(default_factory=list)  # that a later row of their id has replaced
    orphans: dict[int, list[int]] = field(default_factory=dict)  # passages of no document, by dimensions
    lost_sources: list[int] = field(default_factory=list)  # pieces of no document
    counts: Counter[int] = field(default_factory=Counter)
    incomplete: list[str] = field(default_factory=list)
    greatest: int = 0  # row number of all that were read

    @property
    def documents(self) -> list[Row]:
        """Those that are there."""
        return [row for row in self.rows.values() if row.exists]

    def state(self, known: State) -> State:
        """What Redis should know; of no generation where there was never a document.

        Where no passage is left, the embedder is the one that was known.
        """
        every = [*self.rows.values(), *self.dead]
        generation = max((row.generation for row in every), default=0)
        if not generation and not known.generation:
            return State()
        filled = max(
            (row for row in self.documents if row.passages),
            key=lambda row: row.version,
            default=Row("", fingerprint=known.fingerprint, dimensions=known.dimensions),
        )
        return State(
            generation=max(generation, known.generation),
            passages=sum(row.passages for row in self.documents),
            documents=len(self.documents),
            fingerprint=filled.fingerprint,
            dimensions=filled.dimensions,
        )


async def audit(server: Server, key: Key) -> Audit:
    """Read all rows of a collection; its lease keeps others from writing meanwhile."""
    found, here = Audit(key), f'place == "{place_of(key)}"'
    async for batch in server.scan(server.documents, here, ROW_FIELDS):
        for row in map(row_of, batch):
            found.greatest = max(found.greatest, row.version, row.rows.stop, row.sources.stop)
            older = found.rows.get(row.name)  # rows come by ascending version
            if older is not None:
                found.dead.append(older)
            found.rows[row.name] = row
    for dimensions in await server.dimensions():
        await server.ready([dimensions])
        await look(server, found, dimensions, here)
    pieces = spans([row.sources for row in found.documents])
    async for batch in server.scan(server.sources, here, []):
        ids = np.array([int(each["id"]) for each in batch], dtype=np.int64)
        found.greatest = max(found.greatest, int(ids.max()))
        found.lost_sources += ids[~within(ids, pieces)].tolist()
    return found


async def look(server: Server, found: Audit, dimensions: int, here: str) -> None:
    """The passages with vectors of one length."""
    documents = [row for row in found.documents if row.dimensions == dimensions and row.passages]
    owned = spans([row.rows for row in documents])
    seen: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = [np.empty(0, dtype=np.int64)]
    async for batch in server.scan(server.passages(dimensions), here, ["tokens"]):
        ids = np.array([int(each["id"]) for each in batch], dtype=np.int64)
        found.greatest = max(found.greatest, int(ids.max()))
        live = within(ids, owned)
        found.orphans.setdefault(dimensions, []).extend(ids[~live].tolist())
        seen.append(ids[live])
        blobs = b"".join(unwrapped(each["tokens"]) for each, alive in zip(batch, live, strict=True) if alive)
        found.counts.update(np.frombuffer(blobs, dtype="<u4").tolist())
    there = np.unique(np.concatenate(seen))
    for row in documents:
        first, last = np.searchsorted(there, [row.rows.start, row.rows.stop])
        if last - first < row.passages:
            found.incomplete.append(row.name)


def spans(ranges: Sequence[range]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Starts and ends of ranges, ascending."""
    pairs = sorted((each.start, each.stop) for each in ranges if len(each))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def within(
    ids: np.ndarray[tuple[int], np.dtype[np.int64]], owned: np.ndarray[tuple[int, int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of ``ids`` lie in one of the spans, which do not overlap."""
    if not len(owned):
        return np.zeros(len(ids), dtype=np.bool_)
    at = np.searchsorted(owned[:, 0], ids, side="right") - 1
    inside: np.ndarray[tuple[int], np.dtype[np.bool_]] = (at >= 0) & (ids < owned[np.maximum(at, 0), 1])
    return inside


class Mending:
    """Puts Milvus and Redis right, a collection under its lease, or all after Redis lost what it held."""

    def __init__(self, server: Server, shared: Shared) -> None:
        self.server = server
        self.shared = shared

    async def mend(self, lease: Lease, key: Key, found: Audit | None = None) -> Audit:
        """Make one collection's rows and numbers agree.

        What was cut off gets a row of a later version first, so that what its writer may still send, being
        slow rather than dead, never counts.
        """
        found = found or await audit(self.server, key)
        names = cut_off(lease.intent)
        if names:
            await self.fence(lease, found, names)
        await self.shared.extend(lease)
        await self.server.delete(self.server.documents, [row.version for row in found.dead])
        for dimensions, ids in found.orphans.items():
            await self.server.delete(self.server.passages(dimensions), ids)
        await self.server.delete(self.server.sources, found.lost_sources)
        state = found.state(lease.state)
        if names and state.generation:
            state = replace(state, generation=state.generation + 1)  # some of it may be new to readers
        names = sorted(row.name for row in found.documents)
        await self.shared.replace(lease, key, state, found.counts, names)
        return found

    async def fence(self, lease: Lease, found: Audit, names: Sequence[str]) -> None:
        """A later row for each of these ids, of what it stands for now."""
        at = await self.shared.begin(lease, len(names), names)
        later = []
        for i, name in enumerate(names):
            row = found.rows.get(name) or Row(name, stamp_at=int(time.time()))
            if name in found.rows:
                found.dead.append(row)
            later.append(replace(row, version=at + i))
            found.rows[name] = later[-1]
        await self.server.insert(self.server.documents, [document_fields(row, found.key) for row in later])

    async def sure(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What Redis says, told anew first where it has lost everything."""
        while True:
            try:
                return await ask()
            except Lost:
                await self.anew()

    async def anew(self) -> None:
        """Tell Redis, which has lost it, what Milvus holds; one retriever does, the others wait."""
        token = uuid.uuid4().hex
        while not await self.shared.mending(token, MENDING_S):
            await asyncio.sleep(POLL_S)
            with suppress(Lost):
                await self.shared.epoch()
                return
        with suppress(Lost):  # another has done it just now
            await self.shared.epoch()
            return
        try:
            await self.all_told()
        except BaseException:
            await self.shared.give_up()  # for another to try at once
            raise

    async def all_told(self) -> None:
        """Each collection, then that a new life has begun."""
        greatest = number = 0
        keys = await self.keys()
        if keys:
            log.warning("redis has lost what it held; it is told anew by milvus", collections=len(keys))
        for key in keys:
            found = await self.told(key)
            greatest = max(greatest, found.greatest)
            number = max([number, *(row.newest for row in found.rows.values())])
            await self.shared.still_mending(MENDING_S)
        await self.shared.live(number, greatest)

    async def told(self, key: Key) -> Audit:
        """One collection, while nobody may write."""
        lease = await self.shared.acquire(place_of(key), lost=True)
        if lease is None:
            raise Unavailable(f"{key.collection!r} is being written although Redis lost its state; try again.")
        beat = asyncio.create_task(self.beat(lease))
        try:
            return await self.mend(lease, key)
        finally:
            beat.cancel()
            await self.shared.release(lease)

    async def beat(self, lease: Lease) -> None:
        """Keep the lease up, and say that the work goes on."""
        while True:
            await asyncio.sleep(self.shared.lease_ms / 3000)
            with suppress(RaglineError):
                await self.shared.extend(lease)
                await self.shared.still_mending(MENDING_S)

    async def keys(self) -> list[Key]:
        """Every collection that a row is of."""
        await self.server.ready()
        found: dict[str, Key] = {}
        async for batch in self.server.scan(self.server.documents, "", ["place", "head"]):
            for each in batch:
                if each["place"] not in found:
                    found[each["place"]] = key_of(each)
        return list(found.values())


def cut_off(intent: str) -> list[str]:
    """The ids that a writer who did not finish was writing."""
    if not intent or intent.startswith("["):
        return []
    names: list[str] = json.loads(intent.split(" ", 2)[2])
    return names
