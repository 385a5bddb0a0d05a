"""One life of a retriever that will be killed: what writes, reads, compacts and embeds anew at the same time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import numpy as np

from ragline.errors import Cancelled, Mismatch, NotFound, Overloaded, TimedOut, Unavailable
from ragline.grpc_client import call
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from ragline.v1.passage_pb2 import Passage
from services.preprocess.embedders.hashing import Hashing
from tests.retriever.ledger import Ledger, mark, passages

COLLECTION = "chaos"
WRITERS = 3
OF_A_WRITER = 12
FILES = 3
OF_A_FILE = 4
EMBEDDERS = {embedder.fingerprint: embedder for embedder in (Hashing(64), Hashing(48))}
TIMEOUT_S = 60.0
DOWN = (Unavailable, TimedOut, Cancelled)  # what a killed retriever answers
PAGE = 1000


class Life:
    """The work of one life; each task goes on until the retriever is gone."""

    def __init__(self, stub: retriever_pb2_grpc.RetrieverAsyncStub, ledger: Ledger, dice: random.Random) -> None:
        self.stub = stub
        self.ledger = ledger
        self.dice = dice
        self.over = False

    def work(self) -> list[Awaitable[None]]:
        """Everything that goes on at once."""
        tasks = [self.until_down(self.write, n) for n in range(WRITERS)]
        tasks += [self.until_down(self.settle, n) for n in range(FILES)]
        tasks += [self.until_down(self.read, n) for n in range(2)]
        return [*tasks, *(self.until_down(step, 0) for step in (self.compact, self.renew, self.look))]

    async def until_down(self, step: Callable[[int], Awaitable[None]], number: int) -> None:
        """One step after the other."""
        while not self.over:
            try:
                await step(number)
            except DOWN:
                if not self.over:
                    raise
            except Overloaded:
                await asyncio.sleep(0.02)

    async def reserve(self) -> int:
        """The next number; it is above all that were seen before it was asked for."""
        before = self.ledger.number
        answer = await call(self.stub.Reserve, pb.ReserveRequest(count=1), timeout_s=TIMEOUT_S)
        assert answer.first > before, f"number {answer.first} after {before}"
        self.ledger.number = max(self.ledger.number, answer.first)
        return answer.first

    async def write(self, writer: int) -> None:
        """Put, replace or delete one of the writer's own documents."""
        document = f"w{writer}d{self.dice.randrange(OF_A_WRITER)}"
        seq = await self.reserve()
        if self.dice.random() < 0.3:
            await self.delete(document, seq)
        else:
            await self.upsert(document, seq, self.dice.randrange(1, 10**9), "")

    async def upsert(self, document: str, seq: int, version: int, container: str) -> None:
        """Put a version, embedded by the embedder in use."""
        self.ledger.ask(document, version)
        for fingerprint in list(self.ledger.fingerprints):
            request = upsert(document, version, EMBEDDERS[fingerprint])
            request.seq, request.container = seq, container
            try:
                answer = await call(self.stub.Upsert, request, timeout_s=TIMEOUT_S)
            except Mismatch:  # the collection goes by the other one by now
                self.ledger.fingerprints.sort(key=lambda known: known == fingerprint)
                continue
            assert not answer.stale, f"{document}: number {seq} came first"
            self.ledger.acknowledge(document, version, answer.generation)
            self.ledger.count("upserts")
            return

    async def delete(self, document: str, seq: int) -> None:
        """Delete, and send an older write after it, which must not bring anything back."""
        self.ledger.ask(document, None)
        request = pb.DeleteRequest(collection=COLLECTION, document_id=document, seq=seq)
        answer = await call(self.stub.Delete, request, timeout_s=TIMEOUT_S)
        self.ledger.acknowledge(document, None, answer.generation)
        self.ledger.count("deletes")
        late = upsert(document, 1, EMBEDDERS[self.ledger.fingerprints[0]])
        late.seq = seq - 1
        try:
            assert (await call(self.stub.Upsert, late, timeout_s=TIMEOUT_S)).stale, f"{document} came back"
        except Mismatch:
            return

    async def settle(self, number: int) -> None:
        """A file of many: its documents of this version, then whatever else was left of it goes."""
        container = f"file{number}"
        members = [f"{container}m{n}" for n in range(OF_A_FILE)]
        chosen = self.dice.sample(members, self.dice.randrange(OF_A_FILE + 1))
        seq = await self.reserve()
        for member in chosen:
            await self.upsert(member, seq, self.dice.randrange(1, 10**9), container)
            if self.ledger.settled(member) is None:
                return  # the embedder changed twice meanwhile: not written
        for member in set(members) - set(chosen):
            self.ledger.ask(member, None)
        request = pb.SettleRequest(
            collection=COLLECTION, container=container, seq=seq, document_ids=sorted(chosen)
        )
        answer = await call(self.stub.Settle, request, timeout_s=TIMEOUT_S)
        for member in set(members) - set(chosen):
            self.ledger.acknowledge(member, None, answer.generation)
        self.ledger.count("settles")

    async def read(self, _: int) -> None:
        """Search within a document; a state that did not change meanwhile must be what is found, whole."""
        known = list(self.ledger.states)
        if not known:
            await asyncio.sleep(0.01)
            return
        document = self.dice.choice(known)
        before = self.ledger.settled(document)
        query = f"{document} harbour" if before is None or before[1] is None else mark(document, before[1])
        mode = self.dice.choice([pb.MODE_SPARSE, pb.MODE_DENSE, pb.MODE_HYBRID])
        try:
            found = await search(self.stub, [query], document, mode)
        except NotFound:
            assert not self.ledger.generation, "the collection is gone"
            return
        self.ledger.count("searches")
        texts = {hit.passage.text for hit in found.results[0].hits}
        if before is None or self.ledger.settled(document) != before:
            return
        expected = set() if before[1] is None else set(passages(document, before[1]))
        assert texts == expected, f"{document} ({pb.Mode.Name(mode)}): {sorted(texts)}, not {sorted(expected)}"

    async def compact(self, _: int) -> None:
        """Give back room again and again."""
        await asyncio.sleep(self.dice.uniform(0.01, 0.3))
        self.ledger.count("compactions begun")
        await call(self.stub.Compact, pb.CompactRequest(), timeout_s=TIMEOUT_S)
        self.ledger.count("compactions")

    async def look(self, _: int) -> None:
        """Count by which tier vectors are searched."""
        told = await call(self.stub.Describe, pb.DescribeRequest(collection=COLLECTION), timeout_s=TIMEOUT_S)
        for collection in told.collections:
            self.ledger.count(f"looks at tier {collection.dense_tier}")
        await asyncio.sleep(0.1)

    async def renew(self, _: int) -> None:
        """Vectors of the other embedder for every document, then the switch."""
        await asyncio.sleep(self.dice.uniform(0.01, 0.2))
        target = self.ledger.fingerprints[-1]
        request = pb.ListDocumentsRequest(collection=COLLECTION, limit=PAGE)
        try:
            listed = await call(self.stub.ListDocuments, request, timeout_s=TIMEOUT_S)
        except NotFound:
            return
        missing = [each.id for each in listed.documents]
        while not self.over:
            await asyncio.gather(*(self.stage(document, EMBEDDERS[target]) for document in missing))
            switch = pb.SwitchRequest(collection=COLLECTION, fingerprint=target)
            answer = await call(self.stub.Switch, switch, timeout_s=TIMEOUT_S)
            self.ledger.saw(answer.generation)
            if answer.switched:
                self.ledger.fingerprints.sort(key=lambda known: known != target)
                self.ledger.count("switches")
                return
            missing = list(answer.missing)

    async def stage(self, document: str, embedder: Hashing) -> None:
        """The other embedder's vectors of a document as it is now."""
        request = pb.GetDocumentRequest(collection=COLLECTION, document_id=document)
        try:
            kept = await call(self.stub.GetDocument, request, timeout_s=TIMEOUT_S)
        except NotFound:
            return
        made = embedder.embed([passage.text for passage in kept.passages])
        staged = pb.StageRequest(
            collection=COLLECTION,
            document_id=document,
            seq=kept.seq,
            fingerprint=embedder.fingerprint,
            dimensions=embedder.dimensions,
            vectors=np.ascontiguousarray(made.vectors, dtype="<f4").tobytes(),
            token_ids=[ids.astype("<u4").tobytes() for ids in made.token_ids],
        )
        await call(self.stub.Stage, staged, timeout_s=TIMEOUT_S)
        self.ledger.count("staged")


def upsert(document: str, version: int, embedder: Hashing) -> pb.UpsertRequest:
    """What preprocess sends for a version of a document."""
    texts = passages(document, version)
    made = embedder.embed(texts)
    source = "\n".join(texts)
    starts = [source.index(text) for text in texts]
    return pb.UpsertRequest(
        collection=COLLECTION,
        document=pb.Document(id=document, source=source, content_hash=mark(document, version)),
        passages=[
            Passage(text=text, start=at, end=at + len(text)) for text, at in zip(texts, starts, strict=True)
        ],
        vectors=np.ascontiguousarray(made.vectors, dtype="<f4").tobytes(),
        dimensions=embedder.dimensions,
        fingerprint=embedder.fingerprint,
        token_ids=[ids.astype("<u4").tobytes() for ids in made.token_ids],
    )


async def search(
    stub: retriever_pb2_grpc.RetrieverAsyncStub, queries: list[str], document: str, mode: pb.Mode.ValueType
) -> pb.SearchResponse:
    """What is found within one document."""
    request = pb.SearchRequest(
        collection=COLLECTION,
        queries=queries,
        top_k=50,
        mode=mode,
        filter_json=f'{{"document_id": "{document}"}}',
    )
    return await call(stub.Search, request, timeout_s=TIMEOUT_S)
