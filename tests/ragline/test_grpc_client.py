import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest

from ragline import context
from ragline.errors import TABLE, Internal, InvalidRequest, RaglineError, TimedOut, TooLarge, Unavailable
from ragline.grpc_client import call, channel, stream
from ragline.grpc_server import GrpcServer
from ragline.v1.generator_pb2 import AnswerEvent, AnswerRequest
from ragline.v1.generator_pb2_grpc import GeneratorStub
from ragline.v1.preprocess_pb2 import EmbedRequest
from ragline.v1.preprocess_pb2_grpc import PreprocessStub
from ragline.v1.reranker_pb2 import RerankRequest
from ragline.v1.reranker_pb2_grpc import RerankerStub
from tests.ragline.rpc import echo, server

TIMEOUT_S = 60.0


@asynccontextmanager
async def connected(started: GrpcServer) -> AsyncIterator[grpc.aio.Channel]:
    port = await started.start()
    async with channel(f"127.0.0.1:{port}", max_message_mb=4) as ours:
        try:
            yield ours
        finally:
            await started.stop(0)


def rerank(ours: grpc.aio.Channel) -> Any:
    return RerankerStub(ours).Rerank


def answers(ours: grpc.aio.Channel, query: str = "") -> AsyncGenerator[AnswerEvent, None]:
    return stream(GeneratorStub(ours).Answer, AnswerRequest(query=query), timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("kind", TABLE)
async def test_what_one_side_raises_the_other_gets(kind: type[RaglineError]) -> None:
    raised = kind("It is bad; send less.")

    async def act(query: str, rpc: Any) -> str:
        raise raised

    async with connected(server(act)) as ours:
        with pytest.raises(kind) as caught:
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
    assert type(caught.value) is kind
    assert (caught.value.detail, caught.value.retry_after_s) == (raised.detail, raised.retry_after_s)


async def test_fields_at_fault_come_back_too() -> None:
    async def act(query: str, rpc: Any) -> str:
        raise InvalidRequest("The query is empty.", field="query")

    async with connected(server(act)) as ours:
        with pytest.raises(InvalidRequest) as caught:
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
    assert caught.value.errors == ({"field": "query", "detail": "The query is empty."},)


async def test_a_crash_there_is_internal_here() -> None:
    async def act(query: str, rpc: Any) -> str:
        raise RuntimeError("password=hunter2")

    async with connected(server(act)) as ours:
        with pytest.raises(Internal) as caught:
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
    assert "hunter2" not in caught.value.detail


async def test_a_stream_gives_its_messages_then_its_error() -> None:
    async def tell(query: str, rpc: Any) -> AsyncIterator[str]:
        yield "a"
        raise Unavailable("The model is gone.", retry_after_s=9)

    async with connected(server(tell=tell)) as ours:
        events = answers(ours)
        assert (await anext(events)).token.text == "a"
        with pytest.raises(Unavailable, match="The model is gone") as caught:
            await anext(events)
    assert caught.value.retry_after_s == 9


async def test_a_whole_stream() -> None:
    async with connected(server()) as ours:
        assert [event.token.text async for event in answers(ours, "abc")] == ["a", "b", "c"]


async def test_the_request_id_goes_along() -> None:
    async def act(query: str, rpc: Any) -> str:
        return context.request_id()

    async with connected(server(act)) as ours:
        with context.bind("r1"):
            assert (await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)).scorer == "r1"
        alone = (await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)).scorer
        assert context.accepted_id(alone)


async def test_the_smaller_of_two_limits_goes_along() -> None:
    async def act(query: str, rpc: Any) -> str:
        return str(context.remaining_s(99))

    async def left(ours: grpc.aio.Channel, timeout_s: float) -> float:
        return float((await call(rerank(ours), RerankRequest(), timeout_s=timeout_s)).scorer)

    async with connected(server(act)) as ours:
        with context.bind(timeout_s=10):
            assert await left(ours, 20) < 11
            assert await left(ours, 5) < 6


async def test_a_deadline_is_timed_out_on_both_kinds() -> None:
    async def act(query: str, rpc: Any) -> str:
        await asyncio.Event().wait()
        return ""

    async def tell(query: str, rpc: Any) -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    async with connected(server(act, tell)) as ours:
        with context.bind(timeout_s=0.05), pytest.raises(TimedOut, match=r"did not answer within 0\.0"):
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
        with context.bind(timeout_s=0.1), pytest.raises(TimedOut):
            [event async for event in answers(ours)]


async def test_nothing_is_sent_once_the_deadline_has_passed() -> None:
    async with connected(server()) as ours:
        with context.bind(timeout_s=-1), pytest.raises(TimedOut, match="has passed"):
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)


async def test_cancelling_the_caller_cancels_the_work() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def act(query: str, rpc: Any) -> str:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    async with connected(server(act)) as ours:
        task = asyncio.create_task(call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S))
        await started.wait()
        task.cancel()
        await ended.wait()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_leaving_a_stream_early_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def tell(query: str, rpc: Any) -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with connected(server(tell=tell)) as ours:
        async with aclosing(answers(ours)) as events:
            assert (await anext(events)).token.text == "a"
        await ended.wait()


async def test_an_idempotent_call_is_sent_again() -> None:
    tries: list[str] = []

    async def act(query: str, rpc: Any) -> str:
        tries.append(context.request_id())
        if len(tries) < 3:
            await rpc.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return "there"

    async with connected(server(act)) as ours:
        with context.bind("r1"):
            assert (await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)).scorer == "there"
    assert tries == ["r1"] * 3


async def test_other_failures_and_other_calls_are_not_sent_again() -> None:
    tries: list[str] = []

    async def act(query: str, rpc: Any) -> str:
        tries.append(query)
        raise TABLE[0]("Bad; mend it.")

    async def tell(query: str, rpc: Any) -> AsyncIterator[str]:
        tries.append(query)
        for text in query.split("|")[1:]:
            yield text
        raise Unavailable("Not now.")

    async with connected(server(act, tell)) as ours:
        with pytest.raises(TABLE[0]):
            await call(rerank(ours), RerankRequest(query="unary"), timeout_s=TIMEOUT_S)
        with pytest.raises(Unavailable):
            await anext(answers(ours, "stream"))
    assert tries == ["unary", "stream"]


async def test_nobody_there_is_unavailable() -> None:
    gone = server()
    port = await gone.start()
    await gone.stop(0)
    async with channel(f"127.0.0.1:{port}", max_message_mb=4) as ours:
        with pytest.raises(Unavailable, match="The reranker service does not answer; is it running"):
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)


async def test_a_server_that_comes_back_is_used_again() -> None:
    first = server()
    port = await first.start()
    async with channel(f"127.0.0.1:{port}", max_message_mb=4) as ours:
        await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
        await first.stop(0)
        with pytest.raises(Unavailable):
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
        again = server(address=f"127.0.0.1:{port}")
        await again.start()
        async with asyncio.timeout(60):  # its reconnects are at most a second apart
            assert await until_answered(ours) == "back"
        await again.stop(0)


@asynccontextmanager
async def slow_to_connect(port: int, delay_s: float) -> AsyncIterator[int]:
    """The port of a relay to ``port`` that lets each new connection wait: a busy machine, or a long way."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay_s)
        beyond, out = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.wait(
            [asyncio.create_task(copied(reader, out)), asyncio.create_task(copied(beyond, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for each in (out, writer):
            each.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65_536):
        writer.write(part)
        await writer.drain()


async def test_a_connection_that_takes_its_time_is_waited_for() -> None:
    """However soon a server that was away is tried again."""
    started = server()
    async with (
        slow_to_connect(await started.start(), 1.0) as port,
        channel(f"127.0.0.1:{port}", max_message_mb=4) as ours,
    ):
        assert (await call(rerank(ours), RerankRequest(query="there"), timeout_s=TIMEOUT_S)).scorer == "there"
    await started.stop(0)


async def until_answered(ours: grpc.aio.Channel) -> str:
    while True:
        try:
            return str((await call(rerank(ours), RerankRequest(query="back"), timeout_s=TIMEOUT_S)).scorer)
        except Unavailable:
            continue


async def test_calls_take_turns_between_the_addresses() -> None:
    served: list[str] = []

    def named(name: str) -> GrpcServer:
        async def act(query: str, rpc: Any) -> str:
            served.append(name)
            return ""

        return server(act)

    one, two = named("one"), named("two")
    ports = [await one.start(), await two.start()]
    address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    async with channel(address, max_message_mb=4) as ours:
        async with asyncio.timeout(60):
            while set(served) != {"one", "two"}:  # the second connection may be a moment later
                await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
        served.clear()
        for _ in range(10):
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
    assert sorted(served) == ["one"] * 5 + ["two"] * 5
    await one.stop(0)
    await two.stop(0)


@pytest.mark.parametrize("size", [2, 6])
async def test_a_message_over_the_limit_names_the_setting(size: int) -> None:
    """2 MB are over what this server takes, 6 MB over what this client sends."""
    async with connected(server(max_message_mb=1)) as ours:
        with pytest.raises(TooLarge, match="RAGLINE_MAX_MESSAGE_MB"):
            await call(rerank(ours), RerankRequest(query="x" * (size << 20)), timeout_s=TIMEOUT_S)


async def test_the_wrong_service_at_an_address_is_unavailable() -> None:
    async with connected(server()) as ours:
        with pytest.raises(Unavailable, match="does not know the call"):
            await call(PreprocessStub(ours).Embed, EmbedRequest(), timeout_s=TIMEOUT_S)


async def test_a_status_of_somebody_else_keeps_its_row() -> None:
    async def act(query: str, rpc: Any) -> str:
        await rpc.abort(grpc.StatusCode.PERMISSION_DENIED, "Not yours.")
        return ""

    async with connected(server(act)) as ours:
        with pytest.raises(RaglineError, match=r"Not yours\.") as caught:
            await call(rerank(ours), RerankRequest(), timeout_s=TIMEOUT_S)
    assert caught.value.http_status == 403


async def test_a_name_is_resolved() -> None:
    started = server(echo)
    port = await started.start()
    async with channel(f"localhost:{port}", max_message_mb=4) as ours:
        assert (await call(rerank(ours), RerankRequest(query="a"), timeout_s=TIMEOUT_S)).scorer == "a"
    await started.stop(0)
