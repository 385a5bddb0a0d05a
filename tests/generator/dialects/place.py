"""The generator's doors for other clients, served over real HTTP on a free port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import openai
from websockets.asyncio.client import ClientConnection, connect

from ragline.http import create_app, origins
from ragline.http import openai as dialect
from ragline.http.server import HttpServer
from ragline.rates import LocalRates
from ragline.v1 import retriever_pb2
from services.generator import asking
from services.generator.dialects import chat, models, socket
from services.generator.dialects.models import Models
from services.generator.dialects.socket import Bounds, Parts
from services.generator.llms import LLM
from services.generator.profiles import Profile
from services.generator.room import Room
from services.generator.steps import BARE, Steps
from tests.generator import world

LIMITS = asking.Limits(query_chars=200, filter_chars=1000, top_k=20, answer_tokens=500, turn_chars=400)
PROFILES = {"short": Profile(top_k=1, max_tokens=40), "words": Profile(mode="sparse")}
BOUNDS = Bounds(questions=2, message_kb=4, per_minute=30)
KESTREL = "How long is the warranty of the Kestrel router?"


class Library(world.Shelf):
    """The shelf, which can also say what collections there are."""

    async def Describe(  # noqa: N802 - gRPC's name
        self, request: retriever_pb2.DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> retriever_pb2.DescribeResponse:
        states = [
            retriever_pb2.CollectionState(tenant=request.tenant, collection=name, documents=count)
            for name, count in (("default", 4), ("empty", 0))
        ]
        return retriever_pb2.DescribeResponse(collections=states)


@dataclass(frozen=True)
class Served:
    """What is served, and where."""

    url: str
    server: HttpServer
    opened: list[openai.AsyncOpenAI] = field(default_factory=list)

    def openai(self, **options: Any) -> openai.AsyncOpenAI:
        """OpenAI's own client, as it is; it does not try again unless told."""
        client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="-", max_retries=0, **options)
        self.opened.append(client)
        return client

    def http(self) -> httpx.AsyncClient:
        """A plain client."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False)

    def chat(self, path: str = "/chat", **options: Any) -> connect:
        """A WebSocket."""
        return connect(self.url.replace("http", "ws") + path, proxy=None, **options)


@asynccontextmanager
async def serving(
    retriever: grpc.aio.Channel,
    reranker: grpc.aio.Channel | None = None,
    *,
    llm: LLM | None = None,
    waiting: int = 16,
    chats: int = 8,
    cors: str = "",
    steps: Steps = BARE,
    per_minute: int = 1000,
) -> AsyncIterator[Served]:
    """The doors over a real use case."""
    answerer = world.answerer(retriever, reranker, llm=llm, waiting=waiting)
    answerer.steps = steps
    parts = Parts(answerer, LIMITS, BOUNDS, Room(chats, "conversations", "GENERATOR_MAX_CHATS"))
    app = create_app(
        "generator", [socket.router(parts)], checks={}, max_body_mb=1, per_minute=(LocalRates(), per_minute)
    )
    known = Models(answerer.sources, PROFILES, embedder)
    dialect.speak(app, [chat.router(answerer, LIMITS, PROFILES), models.router(known)])
    origins.allow(app, cors)
    server = HttpServer(app, "127.0.0.1", 0)
    served = Served(await server.start(), server)
    try:
        yield served
    finally:
        for client in served.opened:
            await client.close()
        await server.stop(5)


async def embedder() -> str:
    """The name of an embedding model."""
    return "some-embedder"


def asked(question: str = KESTREL, **more: Any) -> dict[str, Any]:
    """A request of one message."""
    return {"model": "ragline", "messages": [{"role": "user", "content": question}], **more}


async def said(connection: ClientConnection, *ends: str) -> list[dict[str, Any]]:
    """The messages up to one of the kinds."""
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["type"] not in ends:
        messages.append(json.loads(await connection.recv()))
    return messages
