"""The gRPC door says the same as the REST door."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from ragline import grpc_client
from ragline.errors import InvalidRequest, NotFound, TooLarge
from ragline.v1 import generator_pb2 as pb
from ragline.v1 import generator_pb2_grpc
from services.generator import asking, rpc
from tests.generator import world

LIMITS = asking.Limits(query_chars=200, filter_chars=1000, top_k=20, answer_tokens=500)


@pytest_asyncio.fixture
async def stub(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> AsyncIterator[generator_pb2_grpc.GeneratorAsyncStub]:
    async with world.serving(rpc.add(world.answerer(retriever, reranker), LIMITS)) as channel:
        yield generator_pb2_grpc.GeneratorStub(channel)


async def ask(stub: generator_pb2_grpc.GeneratorAsyncStub, **fields: object) -> list[pb.AnswerEvent]:
    given = {"tenant": "default", "query": "How long is the warranty of the Kestrel router?", **fields}
    request = pb.AnswerRequest(**given)  # type: ignore[arg-type]  # the fields of the message
    return [event async for event in grpc_client.stream(stub.Answer, request, timeout_s=10)]


async def test_streams_the_answer(stub: generator_pb2_grpc.GeneratorAsyncStub) -> None:
    events = await ask(stub, explain=True)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "passages"
    assert kinds[-2:] == ["usage", "done"]
    done = events[-1].done
    assert "".join(event.token.text for event in events if event.HasField("token")) == done.answer
    citation = next(event.citation for event in events if event.HasField("citation"))
    assert citation.quote == world.SOURCES[citation.document_id][1][citation.start : citation.end]
    assert (done.generation, done.model, done.abstained) == (7, "extractive", False)
    assert done.timings_ms["total"] > 0
    assert '"passages"' in done.explain_json
    assert len(events[0].passages.scores) == len(events[0].passages.passages) > 0


async def test_a_caller_that_leaves_stops_the_llm(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    llm = world.Reciter(pauses_after=12)
    asked = world.answerer(retriever, reranker, llm=llm)
    async with world.serving(rpc.add(asked, LIMITS)) as channel:
        call = generator_pb2_grpc.GeneratorStub(channel).Answer(
            pb.AnswerRequest(tenant="default", query="How long is the warranty of the Kestrel router?")
        )
        async for event in call:
            if event.HasField("token"):
                break
        call.cancel()
        await llm.closed.wait()
    assert llm.words == 12


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"query": ""}, InvalidRequest),
        ({"query": "x" * 300}, TooLarge),
        ({"tenant": ""}, InvalidRequest),
        ({"temperature": 3.0}, InvalidRequest),
        ({"top_k": 100}, InvalidRequest),
        ({"collection": "nowhere"}, NotFound),
        ({"filter_json": '{"colour": 1}'}, InvalidRequest),
    ],
)
async def test_errors_cross_the_wire(
    stub: generator_pb2_grpc.GeneratorAsyncStub, fields: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await ask(stub, **fields)
