"""Writes an export into a retriever as new writes, and holds what is there afterwards against it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from ragline.cli.backup_file import Backup
from ragline.cli.client import Failure
from ragline.cli.retriever import Retriever
from ragline.errors import InvalidRequest, Mismatch, TooLarge
from ragline.exports import digest
from ragline.v1 import retriever_pb2 as pb

IN_FLIGHT = 16  # documents on their way
IN_FLIGHT_BYTES = 32 << 20
NAMED = 5  # of what differs

Tell = Callable[[int], None]  # how many documents are done


@dataclass(frozen=True)
class Choice:
    """Which collections are taken, empty meaning all, and the name that the one gets if it is to have another."""

    tenant: str = ""
    collection: str = ""
    into: str = ""

    def holds(self, state: pb.CollectionState) -> bool:
        """Whether it is one of them."""
        return self.tenant in {"", state.tenant} and self.collection in {"", state.collection}

    def name(self, state: pb.CollectionState) -> str:
        """What the collection is called where it goes."""
        return self.into or state.collection


class Origin(Protocol):
    """Where an export comes from."""

    async def states(self, choice: Choice) -> list[pb.CollectionState]:
        """The collections that are chosen."""
        ...

    def parts(self, choice: Choice) -> AsyncGenerator[pb.Exported, None]:
        """All of them, each from its begin to its end; another call gives them anew."""
        ...


class FromFile:
    """An export that was kept."""

    def __init__(self, backup: Backup) -> None:
        self.backup = backup

    async def states(self, choice: Choice) -> list[pb.CollectionState]:
        """See ``Origin``."""
        return [state for state in self.backup.states if choice.holds(state)]

    async def parts(self, choice: Choice) -> AsyncGenerator[pb.Exported, None]:
        """See ``Origin``."""
        chosen = False
        for part in self.backup.parts():
            if part.HasField("begin"):
                chosen = choice.holds(part.begin)
            if chosen:
                yield part


class FromRetriever:
    """An export of a retriever, as it is when it is asked."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever

    async def states(self, choice: Choice) -> list[pb.CollectionState]:
        """See ``Origin``."""
        return await self.retriever.states(choice.tenant, choice.collection)

    def parts(self, choice: Choice) -> AsyncGenerator[pb.Exported, None]:
        """See ``Origin``."""
        return self.retriever.export(choice.tenant, choice.collection)


@dataclass
class Replayed:
    """What became of a collection; ``differing`` are (document id, how), of which only some are named."""

    tenant: str
    collection: str
    documents: int = 0
    passages: int = 0
    written: int = 0
    deleted: int = 0
    differences: int = 0
    differing: list[tuple[str, str]] = field(default_factory=list)

    def differs(self, name: str, how: str) -> None:
        """Count a document that is not there as it should be."""
        self.differences += 1
        if len(self.differing) < NAMED:
            self.differing.append((name, how))


async def replay(origin: Origin, target: Retriever, choice: Choice, tell: Tell) -> list[Replayed]:
    """Make the chosen collections of ``target`` what ``origin`` holds; what is there otherwise goes.

    Writes that were before lose against it, writes that come meanwhile win. Raises Failure, RaglineError.
    """
    states = await origin.states(choice)
    await refuse_other_embedders(states, target, choice)
    done: list[Replayed] = []
    count = itertools.count(1)
    async with aclosing(origin.parts(choice)) as parts:
        async for part in parts:
            collection = Collection(target, part.begin, choice.name(part.begin), lambda: tell(next(count)))
            done += [await collection.replay(parts)]
    await compare(origin, target, choice, done)
    return done


async def refuse_other_embedders(states: Iterable[pb.CollectionState], target: Retriever, choice: Choice) -> None:
    """Raise Failure, before anything is written, where a collection is there and another embedder filled it."""
    there = {(state.tenant, state.collection): state for state in await target.states()}
    for state in states:
        found = there.get((state.tenant, choice.name(state)))
        ours, theirs = (one and (one.fingerprint, one.dimensions) for one in (state, found))
        if found and found.passages and state.passages and ours != theirs:
            raise Failure(
                f"The collection {found.collection!r} was filled by the embedder {found.fingerprint!r}, what "
                f"would be restored by {state.fingerprint!r}; put it into another (--collection "
                f"{state.collection} --into NAME), or embed the one that is there anew first (`ragline reembed`)."
            )


class Collection:
    """One collection on its way into a retriever.

    Three numbers suffice for all of it. What is not in the export is deleted by the first, which no write that
    comes later fears; documents of their own get the second, and those that came out of files of many the
    third, since the write of a document removes what an earlier file of its id left.
    """

    def __init__(self, target: Retriever, state: pb.CollectionState, name: str, tell: Callable[[], None]) -> None:
        self.target = target
        self.tell = tell
        self.done = Replayed(state.tenant, name)
        self.room = Room(IN_FLIGHT, IN_FLIGHT_BYTES)
        self.superfluous: list[str] = []
        self.first = 0

    async def replay(self, parts: AsyncIterator[pb.Exported]) -> Replayed:
        """Take documents up to the end of the collection."""
        self.first = await self.target.reserve(3)
        there = self.target.documents(self.done.tenant, self.done.collection)
        beyond = await anext(there, None)
        async with asyncio.TaskGroup() as writes:
            async for part in parts:
                if part.HasField("end"):
                    break
                size = part.ByteSize()
                await self.room.take(size)
                writes.create_task(self.write(part.document, size))
                while beyond is not None and beyond <= part.document.document.id:
                    if beyond != part.document.document.id:
                        self.superfluous.append(beyond)
                    beyond = await anext(there, None)
        while beyond is not None:
            self.superfluous.append(beyond)
            beyond = await anext(there, None)
        for name in self.superfluous:
            await self.remove(name)
        return self.done

    async def write(self, given: pb.ExportedDocument, size: int) -> None:
        """Store a document as it was."""
        try:
            request = pb.UpsertRequest(
                tenant=self.done.tenant,
                collection=self.done.collection,
                document=given.document,
                passages=given.passages,
                vectors=given.vectors,
                dimensions=given.dimensions,
                fingerprint=given.fingerprint,
                token_ids=given.token_ids,
                seq=self.first + (2 if given.container else 1),
                container=given.container,
            )
            answer = await self.target.upsert(request)
        except (InvalidRequest, TooLarge, Mismatch) as refused:
            raise Failure(f"The document {given.document.id!r} was refused: {refused.detail}") from refused
        finally:
            self.room.give(size)
        self.done.written += answer.changed
        self.done.documents += 1
        self.done.passages += len(given.passages)
        self.tell()

    async def remove(self, name: str) -> None:
        """Delete a document that the export does not hold, unless it was written since."""
        request = pb.DeleteRequest(
            tenant=self.done.tenant, collection=self.done.collection, document_id=name, seq=self.first
        )
        answer = await self.target.delete(request)
        self.done.deleted += answer.found


class Room:
    """Bounds what is under way by number and by size; one that is larger than all goes alone."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.most = self.size = size
        self.waiting = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait until there is room."""
        while not self.count or (self.size < size and self.size < self.most):
            self.waiting.clear()
            await self.waiting.wait()
        self.count -= 1
        self.size -= size

    def give(self, size: int) -> None:
        """It is done."""
        self.count += 1
        self.size += size
        self.waiting.set()


async def compare(origin: Origin, target: Retriever, choice: Choice, done: Sequence[Replayed]) -> None:
    """Note what of each collection is not as it is in the origin; both are read by ascending id."""
    by_name = {(each.tenant, each.collection): each for each in done}
    async with aclosing(origin.parts(choice)) as parts:
        async for part in parts:
            if not part.HasField("begin"):
                raise Failure("The export has a document of no collection.")
            outcome = by_name.get((part.begin.tenant, choice.name(part.begin)))
            if outcome is None:  # it was made since
                outcome = Replayed(part.begin.tenant, choice.name(part.begin))
            theirs = target.export(outcome.tenant, outcome.collection)
            async with aclosing(theirs):
                await differences(digests(parts), digests(theirs), outcome)


async def differences(
    ours: AsyncIterator[tuple[str, bytes]], theirs: AsyncIterator[tuple[str, bytes]], outcome: Replayed
) -> None:
    """Walk along both and note documents that only one side has, or that hold something else."""
    mine, other = await anext(ours, None), await anext(theirs, None)
    while mine is not None or other is not None:
        if other is None or (mine is not None and mine[0] < other[0]):
            assert mine is not None  # noqa: S101 - one of the two is there
            outcome.differs(mine[0], "is missing")
            mine = await anext(ours, None)
        elif mine is None or other[0] < mine[0]:
            outcome.differs(other[0], "is not in what was read")
            other = await anext(theirs, None)
        else:
            if mine[1] != other[1]:
                outcome.differs(mine[0], "holds something else")
            mine, other = await anext(ours, None), await anext(theirs, None)


async def digests(parts: AsyncIterator[pb.Exported]) -> AsyncGenerator[tuple[str, bytes], None]:
    """Id and digest of each document up to the end of the collection."""
    async for part in parts:
        if part.HasField("end"):
            return
        if part.HasField("document"):
            yield part.document.document.id, digest(part.document)
