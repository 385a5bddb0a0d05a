"""Kills one retriever (-9) at random moments of its life, and checks after each restart what is left.

``python -m tests.retriever.chaos --kills 200``. While it lives, documents are put, replaced, deleted and settled
side by side, vectors change their tier and their embedder, the store is compacted, and readers compare what they
find with what was acknowledged. Small thresholds make each of these happen all the time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from ragline import log
from ragline.errors import NotFound
from ragline.grpc_client import call, channel, stream
from ragline.grpc_server import GrpcServer
from ragline.v1 import preprocess_pb2, preprocess_pb2_grpc, retriever_pb2_grpc
from ragline.v1 import retriever_pb2 as pb
from tests.retriever.ledger import Ledger, State, mark, passages
from tests.retriever.life import COLLECTION, EMBEDDERS, PAGE, TIMEOUT_S, Life, search
from tests.stack.process import ServiceProcess
from tests.suite import free_ports

LIFE_S = (0.05, 2.5)
START_S = (0.2, 2.0)  # after which a retriever that is still starting is killed
KILLED_STARTING = 0.15  # of all kills
TIERS = {"exact_rows": 16, "hnsw_rows": 64, "settle_s": 0.2}
MESSAGE_MB = 16


class Embedding(preprocess_pb2_grpc.PreprocessServicer):
    """A preprocess that has both embedders."""

    async def Embed(  # noqa: N802 - named by the proto
        self, request: preprocess_pb2.EmbedRequest, context: Any
    ) -> preprocess_pb2.EmbedResponse:
        """Vectors of the embedder that is asked for."""
        embedder = EMBEDDERS.get(request.fingerprint) or next(iter(EMBEDDERS.values()))
        made = embedder.embed(request.texts)
        return preprocess_pb2.EmbedResponse(
            vectors=made.vectors.astype("<f4").tobytes(),
            dimensions=embedder.dimensions,
            model=embedder.name,
            fingerprint=embedder.fingerprint,
            token_ids=[preprocess_pb2.TokenIds(ids=ids.tolist()) for ids in made.token_ids],
        )

    def add(self, server: grpc.aio.Server) -> Sequence[str]:
        """Register it."""
        preprocess_pb2_grpc.add_PreprocessServicer_to_server(self, server)
        return [preprocess_pb2.DESCRIPTOR.services_by_name["Preprocess"].full_name]


def retriever(folder: Path, preprocess: int) -> tuple[ServiceProcess, str]:
    """A retriever over ``folder``, and the address of its gRPC."""
    port, rpc = free_ports(2)
    environment = {
        **os.environ,
        "RETRIEVER_DATA_DIR": str(folder / "data"),
        "RETRIEVER_PORT": str(port),
        "RETRIEVER_GRPC_PORT": str(rpc),
        "RETRIEVER_PREPROCESS_ADDRESS": f"127.0.0.1:{preprocess}",
        "RETRIEVER_DENSE": "tiered",
        "RETRIEVER_DENSE_OPTIONS": json.dumps(TIERS),
        "RAGLINE_LOG_LEVEL": "warning",
    }
    return ServiceProcess("retriever", "retriever", folder, port, environment), f"127.0.0.1:{rpc}"


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[retriever_pb2_grpc.RetrieverAsyncStub]:
    """Its gRPC door once the connection stands; nothing is sent twice, so that each answer is to one request."""
    async with channel(address, max_message_mb=MESSAGE_MB, idempotent=()) as opened:
        await asyncio.wait_for(opened.channel_ready(), TIMEOUT_S)
        yield retriever_pb2_grpc.RetrieverStub(opened)


async def run(folder: Path, kills: int, seed: int = 0) -> Ledger:
    """``kills`` lives of a retriever in ``folder``; raises AssertionError at the first thing that is wrong."""
    dice = random.Random(seed)
    ledger = Ledger(fingerprints=list(EMBEDDERS))
    async with AsyncExitStack() as stack:
        server = GrpcServer("127.0.0.1:0", Embedding().add, max_message_mb=MESSAGE_MB, drain_s=0)
        preprocess = await server.start()
        stack.push_async_callback(server.stop)
        process, address = retriever(folder, preprocess)
        stack.callback(process.kill)
        for kill in range(kills):
            process.start()
            if dice.random() < KILLED_STARTING:
                await asyncio.sleep(dice.uniform(*START_S))
                ledger.count("killed starting")
            else:
                await asyncio.to_thread(process.wait_for, 200)
                async with connected(address) as stub:
                    await checked(stub, ledger, f"kill {kill}")
                    await live(process, stub, ledger, dice)
            process.kill()
        process.start()
        await asyncio.to_thread(process.wait_for, 200)
        async with connected(address) as stub:
            await checked(stub, ledger, "the end")
    return ledger


async def live(
    process: ServiceProcess, stub: retriever_pb2_grpc.RetrieverAsyncStub, ledger: Ledger, dice: random.Random
) -> None:
    """Work for a random while, then kill."""
    life = Life(stub, ledger, dice)
    tasks = [asyncio.ensure_future(work) for work in life.work()]
    await asyncio.wait(tasks, timeout=dice.uniform(*LIFE_S), return_when=asyncio.FIRST_EXCEPTION)
    process.kill()
    life.over = True
    try:
        await asyncio.gather(*tasks)
    except BaseException as error:
        error.add_note(process.log[-3000:])
        raise


async def checked(stub: retriever_pb2_grpc.RetrieverAsyncStub, ledger: Ledger, when: str) -> None:
    """Compare everything with the ledger, then let the store compare itself."""
    try:
        await everything(stub, ledger)
    except AssertionError as error:
        raise AssertionError(f"before {when}: {error}") from error
    findings = [finding async for finding in stream(stub.Verify, pb.VerifyRequest(), timeout_s=60)]
    assert not findings, f"before {when}: {findings}"
    ledger.count("checks")


async def everything(stub: retriever_pb2_grpc.RetrieverAsyncStub, ledger: Ledger) -> None:
    """Each document whole, by its id, its words and its vectors, or gone from everywhere; nothing beside them."""
    number = await call(stub.Reserve, pb.ReserveRequest(count=1), timeout_s=TIMEOUT_S)
    assert number.first > ledger.number, f"number {number.first} again"
    request = pb.ListDocumentsRequest(collection=COLLECTION, limit=PAGE)
    try:
        listed = await call(stub.ListDocuments, request, timeout_s=TIMEOUT_S)
    except NotFound:
        assert not ledger.generation, "the collection is gone"
        return
    assert listed.generation >= ledger.generation, f"generation {listed.generation} after {ledger.generation}"
    ledger.saw(listed.generation)
    there = {each.id for each in listed.documents}
    for document, states in ledger.states.items():
        found = await stored(stub, document)
        assert found in states, f"{document}: {found} is stored, {states} would be right"
        assert (document in there) == (found is not None), f"{document} is listed wrongly"
        ledger.states[document] = {found}
    assert there <= ledger.states.keys(), f"{there - ledger.states.keys()} came out of nowhere"


async def stored(stub: retriever_pb2_grpc.RetrieverAsyncStub, document: str) -> State:
    """The version that is there, whole and found by every way of search; None if it is gone from all of them."""
    try:
        kept = await call(
            stub.GetDocument,
            pb.GetDocumentRequest(collection=COLLECTION, document_id=document),
            timeout_s=TIMEOUT_S,
        )
    except NotFound:
        for mode in (pb.MODE_SPARSE, pb.MODE_DENSE):
            found = await search(stub, [f"{document} harbour"], document, mode)
            assert not found.results[0].hits, f"{document} is gone, but found ({pb.Mode.Name(mode)})"
        return None
    version = int(kept.document.content_hash.partition("version")[2])
    texts = passages(document, version)
    assert [passage.text for passage in kept.passages] == texts, f"{document} is not whole"
    words = await search(stub, [mark(document, version)], document, pb.MODE_SPARSE)
    assert sorted(hit.passage.text for hit in words.results[0].hits) == sorted(texts), f"{document}: by words"
    near = await search(stub, texts, document, pb.MODE_DENSE)
    for text, result in zip(texts, near.results, strict=True):
        assert sorted(hit.passage.text for hit in result.hits) == sorted(texts), f"{document}: by vectors"
        best = result.hits[0]
        assert best.passage.text == text, f"{document}: {text!r} is not nearest to itself"
        assert best.dense_score > 0.97, f"{document}: {text!r} has a cosine of {best.dense_score} with itself"
    return version


def main(kills: Annotated[int, typer.Option()] = 200, seed: Annotated[int, typer.Option()] = 0) -> None:
    """Kill, check, and say what was done meanwhile."""
    log.configure("error", "text")  # that it cannot be reached is what is asked for
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ledger = asyncio.run(run(Path(folder), kills, seed))
    there = len(list(ledger.alive()))
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(ledger.counts.items()))
    typer.echo(
        f"{kills} kills in {time.perf_counter() - began:.0f} s: {counts}; {there} documents kept, "
        f"{len(ledger.states) - there} deletes kept, none lost, none half, none back, nothing to mend"
    )


if __name__ == "__main__":
    typer.run(main)
