"""A real server of the project's own protocol, for the tests of both ends of gRPC."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc

from ragline.grpc_server import GrpcServer
from ragline.v1.generator_pb2 import AnswerEvent, AnswerRequest, Token
from ragline.v1.generator_pb2_grpc import GeneratorServicer, add_GeneratorServicer_to_server
from ragline.v1.reranker_pb2 import RerankRequest, RerankResponse
from ragline.v1.reranker_pb2_grpc import RerankerServicer, add_RerankerServicer_to_server

NAMES = ("ragline.v1.Reranker", "ragline.v1.Generator")

Act = Callable[[str, Any], Awaitable[str]]
Tell = Callable[[str, Any], AsyncIterator[str]]


class Reranker(RerankerServicer):
    """Names ``act(query)`` as its scorer."""

    def __init__(self, act: Act) -> None:
        self.act = act

    async def Rerank(self, request: RerankRequest, context: Any) -> RerankResponse:  # noqa: N802
        return RerankResponse(scorer=await self.act(request.query, context))


class Generator(GeneratorServicer):
    """Streams what ``tell(query)`` gives."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell

    async def Answer(self, request: AnswerRequest, context: Any) -> AsyncIterator[AnswerEvent]:  # noqa: N802
        async for text in self.tell(request.query, context):
            yield AnswerEvent(token=Token(text=text))


async def echo(query: str, context: Any) -> str:
    return query


async def letters(query: str, context: Any) -> AsyncIterator[str]:
    for letter in query:
        yield letter


def server(
    act: Act = echo, tell: Tell = letters, *, address: str = "127.0.0.1:0", drain_s: float = 5.0, **options: Any
) -> GrpcServer:
    def add(to: grpc.aio.Server) -> Sequence[str]:
        add_RerankerServicer_to_server(Reranker(act), to)
        add_GeneratorServicer_to_server(Generator(tell), to)
        return NAMES

    return GrpcServer(address, add, max_message_mb=options.pop("max_message_mb", 4), drain_s=drain_s, **options)
