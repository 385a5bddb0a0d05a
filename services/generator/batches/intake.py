"""Takes a batch in: its lines to the storage as they come, then a message a chunk; durable when it returns."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import IO

import orjson
import structlog

from ragline import context
from ragline.broker import Broker, NewMessage
from ragline.errors import RaglineError, Unavailable
from services.generator.batches import figures, ids
from services.generator.batches.batches import Batches
from services.generator.batches.inputs import Bounds, Scanner
from services.generator.batches.manifest import (
    IDS,
    INPUT,
    MANIFEST,
    QUEUE,
    QUEUED,
    Chunk,
    Manifest,
    created_at,
    folder,
    new_id,
)
from services.generator.room import Room

PART_BYTES = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)

log = structlog.get_logger(__name__)


class Intake:
    """The use case behind ``POST /batches``; as many at once as there is ``room``."""

    def __init__(self, batches: Batches, broker: Broker, bounds: Bounds, room: Room) -> None:
        self.batches = batches
        self.storage = batches.storage
        self.broker = broker
        self.bounds = bounds
        self.room = room

    async def accept(self, tenant: str, parts: AsyncIterator[bytes]) -> Manifest:
        """Take in a file of lines; returns once all of it would survive a crash.

        Raises InvalidRequest or TooLarge for a file that is no use, Overloaded when the queue is full and
        Unavailable when the storage is; nothing is kept then.
        """
        batch_id = new_id()
        with self.room.enter():
            async with self.whole(tenant, batch_id):
                chunks = await self.store(folder(tenant, batch_id), parts)
            batch = Manifest(batch_id, tenant, created_at(batch_id), chunks)
            # A client that leaves now must not leave half a batch: it is in or out, whoever still listens.
            await asyncio.shield(self.commit(batch))
        figures.accepted(batch.lines)
        return batch

    @asynccontextmanager
    async def whole(self, tenant: str, batch_id: str) -> AsyncIterator[None]:
        """Remove what was stored of a batch where the block fails."""
        try:
            yield
        except OSError as error:
            await self.discard(tenant, batch_id)
            raise away(error) from error
        except BaseException:
            await self.discard(tenant, batch_id)
            raise

    async def store(self, where: str, parts: AsyncIterator[bytes]) -> Sequence[Chunk]:
        """Write the input while it is looked through, and the index of its ids."""
        scanner = Scanner(self.bounds)
        upload = self.storage.upload(f"{where}/{INPUT}")
        target = await asyncio.to_thread(upload.__enter__)
        try:
            async for part in joined(parts):
                await asyncio.to_thread(take, scanner, target, part)
            chunks = await asyncio.to_thread(scanner.end)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(upload.__exit__, type(error), error, error.__traceback__))
            raise
        await asyncio.to_thread(upload.__exit__, None, None, None)
        await asyncio.to_thread(self.storage.write, f"{where}/{IDS}", ids.packed(scanner.ids))
        return chunks

    async def commit(self, batch: Manifest) -> None:
        """Make the batch known: to workers by messages, then to clients."""
        async with self.whole(batch.tenant, batch.id):
            await asyncio.to_thread(self.storage.write, f"{batch.folder}/{MANIFEST}", batch.packed())
            await self.broker.publish(QUEUE, [message(batch, chunk) for chunk in range(len(batch.chunks))])
            await asyncio.to_thread(self.storage.write, f"{batch.folder}/{QUEUED}", b"")

    async def discard(self, tenant: str, batch_id: str) -> None:
        """Remove what was stored of a batch that is not to be; housekeeping does it where this cannot."""
        try:
            await asyncio.shield(asyncio.to_thread(self.batches.remove, tenant, batch_id))
        except OSError as error:
            log.warning("a batch that was refused could not be removed", batch=batch_id, error=str(error))


def take(scanner: Scanner, target: IO[bytes], part: bytes) -> None:
    """Look through the next bytes and write them."""
    scanner.feed(part)
    target.write(part)


async def joined(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger parts, each worth a thread."""
    waiting: list[bytes] = []
    size = 0
    async for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PART_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def message(batch: Manifest, chunk: int) -> NewMessage:
    """The message for a chunk; they may be handled in any order."""
    body = {"tenant": batch.tenant, "batch": batch.id, "chunk": chunk, "request_id": context.request_id()}
    return NewMessage(orjson.dumps(body))


def away(error: OSError) -> RaglineError:
    """What a caller is told of storage that fails."""
    if error.errno in FULL:
        return Unavailable("The storage of batches is full; make room in it.", retry_after_s=60)
    log.error("storage of batches fails", error=str(error))
    return Unavailable("The storage of batches does not work (GENERATOR_BATCH_URL); the log says why.")
