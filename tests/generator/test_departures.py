"""A client that leaves ends its work, wherever that is: over a real connection, while it is written or waits."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest

from ragline.http import create_app
from ragline.http.server import HttpServer
from ragline.v1 import generator_pb2 as pb
from ragline.v1 import generator_pb2_grpc
from services.generator import api, asking, rpc
from services.generator.answer import Answerer
from services.generator.llms import Piece
from services.generator.llms._bounds import Slots
from services.generator.prompt import Prompt
from tests.generator import world

LIMITS = asking.Limits(query_chars=200, filter_chars=1000, top_k=20, answer_tokens=500)
QUERY = "How long is the warranty of the Kestrel router?"
OTHER = "What does entry to the museum cost?"


class Queued(world.Reciter):
    """Recites in one slot, and stops before the end."""

    def __init__(self) -> None:
        super().__init__(pauses_after=3)
        self.slots = Slots(1, 4, "queued")
        self.left = asyncio.Event()

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        try:
            await self.slots.take()
        except asyncio.CancelledError:
            self.left.set()
            raise
        try:
            async for piece in super().generate(prompt, max_tokens=max_tokens, temperature=temperature):
                yield piece
        finally:
            self.slots.give_back()

    async def reached(self, busy: int, waiting: int) -> None:
        """Wait until so many have a slot and so many wait for one."""
        while (1 - self.slots.free, self.slots.waiting) != (busy, waiting):  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0.001)


@asynccontextmanager
async def door(asked: Answerer, retriever: grpc.aio.Channel) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server."""
    app = create_app("generator", [api.router(asked, world.summarizer(retriever), LIMITS, 3)], checks={})
    server = HttpServer(app, "127.0.0.1", 0)
    async with httpx.AsyncClient(base_url=await server.start(), timeout=60) as client:
        yield client
    await server.stop(1)


@pytest.mark.parametrize("stream", [False, True])
async def test_over_rest(retriever: grpc.aio.Channel, stream: bool) -> None:
    llm = Queued()
    async with door(world.answerer(retriever, None, llm=llm), retriever) as client:
        writing = asyncio.create_task(client.post("/generate", json={"query": QUERY, "stream": stream}))
        await llm.reached(1, 0)
        waiting = asyncio.create_task(client.post("/generate", json={"query": OTHER, "stream": stream}))
        await llm.reached(1, 1)
        waiting.cancel()
        await llm.left.wait()
        await llm.reached(1, 0)
        writing.cancel()
        await llm.closed.wait()
        await llm.reached(0, 0)
        await asyncio.gather(writing, waiting, return_exceptions=True)


async def test_over_grpc(retriever: grpc.aio.Channel) -> None:
    llm = Queued()
    async with world.serving(rpc.add(world.answerer(retriever, None, llm=llm), LIMITS)) as channel:
        stub = generator_pb2_grpc.GeneratorStub(channel)
        writing = stub.Answer(pb.AnswerRequest(tenant="a", query=QUERY))
        await anext(aiter(writing))
        await llm.reached(1, 0)
        waiting = stub.Answer(pb.AnswerRequest(tenant="b", query=OTHER))
        await anext(aiter(waiting))
        await llm.reached(1, 1)
        assert list(llm.slots.turns.tenants) == ["b"]
        waiting.cancel()
        await llm.left.wait()
        writing.cancel()
        await llm.closed.wait()
        await llm.reached(0, 0)


async def test_a_deadline_ends_the_wait_for_a_slot(retriever: grpc.aio.Channel) -> None:
    llm = Queued()
    async with door(world.answerer(retriever, None, llm=llm), retriever) as client:
        writing = asyncio.create_task(client.post("/generate", json={"query": QUERY}))
        await llm.reached(1, 0)
        late = await client.post("/generate", json={"query": OTHER}, headers={"x-request-timeout-s": "0.5"})
        assert late.status_code in {200, 504}  # the LLM that needs no model answers, if there is time for it
        await llm.reached(1, 0)
        writing.cancel()
        await llm.reached(0, 0)
        await asyncio.gather(writing, return_exceptions=True)
