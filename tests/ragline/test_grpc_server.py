import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ragline import context
from ragline.errors import TABLE, RaglineError, from_grpc
from ragline.grpc_server import EXTRA_KEY, GrpcServer
from ragline.settings import SettingsError
from ragline.v1.generator_pb2 import AnswerRequest
from ragline.v1.generator_pb2_grpc import GeneratorStub
from ragline.v1.reranker_pb2 import RerankRequest
from ragline.v1.reranker_pb2_grpc import RerankerStub
from tests.ragline.rpc import NAMES, server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def connected(started: GrpcServer) -> AsyncIterator[grpc.aio.Channel]:
    """A plain channel, without our client's retries and restored errors."""
    port = await started.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as plain:
        try:
            yield plain
        finally:
            await started.stop(0)


async def health(plain: grpc.aio.Channel, name: str = "") -> int:
    answer = await health_pb2_grpc.HealthStub(plain).Check(health_pb2.HealthCheckRequest(service=name))
    return int(answer.status)


async def refused(plain: grpc.aio.Channel) -> None:
    """Returns once the server takes no more calls."""
    try:
        while True:
            await health(plain)
    except grpc.aio.AioRpcError:
        return


async def message(call: Any) -> Any:
    return await call.read()


async def drained(call: Any) -> Any:
    return [event async for event in call] if hasattr(call, "read") else await call


def extra(error: grpc.aio.AioRpcError) -> bytes:
    return next(value for key, value in error.trailing_metadata() if key == EXTRA_KEY and isinstance(value, bytes))


@pytest.mark.parametrize("kind", TABLE)
async def test_each_row_becomes_its_status_and_back(kind: type[RaglineError]) -> None:
    raised = kind("Es ist übel - try again; a\nb.")

    async def act(query: str, rpc: Any) -> str:
        raise raised

    async with connected(server(act)) as plain:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await RerankerStub(plain).Rerank(RerankRequest())
    error = caught.value
    got = from_grpc(error.code(), error.details() or "", extra(error))
    assert type(got) is kind
    assert (got.detail, got.retry_after_s) == (raised.detail, raised.retry_after_s)


async def test_an_error_between_two_messages_of_a_stream() -> None:
    async def tell(query: str, rpc: Any) -> AsyncIterator[str]:
        yield "a"
        raise TABLE[0]("The rest is bad.", field="query")

    async with connected(server(tell=tell)) as plain:
        call = GeneratorStub(plain).Answer(AnswerRequest())
        assert (await message(call)).token.text == "a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() == TABLE[0].grpc_status
    assert from_grpc(caught.value.code(), "", extra(caught.value)).errors[0]["field"] == "query"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_crash_is_logged_with_its_request_and_told_to_nobody(
    streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(query: str, rpc: Any) -> str:
        raise RuntimeError("password=hunter2")

    async def tell(query: str, rpc: Any) -> AsyncIterator[str]:
        yield "a"
        raise RuntimeError("password=hunter2")

    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        async with connected(server(act, tell)) as plain:
            stub: Any = GeneratorStub(plain).Answer if streamed else RerankerStub(plain).Rerank
            sent = AnswerRequest() if streamed else RerankRequest()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await drained(stub(sent, metadata=[("x-request-id", "r1")]))
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "hunter2" not in (caught.value.details() or "")
    (line,) = logged
    assert (line["event"], line["request_id"], line["exc_info"]) == ("crashed", "r1", True)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_abort_that_was_planned_passes_untouched() -> None:
    async def act(query: str, rpc: Any) -> str:
        await rpc.abort(grpc.StatusCode.DATA_LOSS, "as planned")
        return ""

    async with connected(server(act)) as plain:
        with pytest.raises(grpc.aio.AioRpcError, match="as planned") as caught:
            await RerankerStub(plain).Rerank(RerankRequest())
    assert caught.value.code() == grpc.StatusCode.DATA_LOSS


async def test_a_caller_that_goes_cancels_the_work() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def act(query: str, rpc: Any) -> str:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    with structlog.testing.capture_logs() as logged:
        async with connected(server(act)) as plain:
            call = RerankerStub(plain).Rerank(RerankRequest())
            await started.wait()
            call.cancel()
            await ended.wait()
    assert logged == []


async def test_a_reader_that_goes_closes_the_stream() -> None:
    ended = asyncio.Event()

    async def tell(query: str, rpc: Any) -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with connected(server(tell=tell)) as plain:
        call = GeneratorStub(plain).Answer(AnswerRequest())
        async for _ in call:
            break
        call.cancel()
        await ended.wait()


async def test_the_request_brings_its_id_and_its_deadline() -> None:
    seen: list[tuple[str, float]] = []

    async def act(query: str, rpc: Any) -> str:
        seen.append((context.request_id(), context.remaining_s(99)))
        return ""

    async with connected(server(act)) as plain:
        stub = RerankerStub(plain)
        await stub.Rerank(RerankRequest(), timeout=30, metadata=[("x-request-id", "r1")])
        await stub.Rerank(RerankRequest(), metadata=[("x-request-id", "not one of ours")])
    (first, within), (second, free) = seen
    assert first == "r1"
    assert 0 < within < 31  # gRPC rounds the timeout that it sends
    assert context.accepted_id(second)
    assert free == 99


async def test_the_work_is_cancelled_at_the_deadline() -> None:
    ended = asyncio.Event()

    async def act(query: str, rpc: Any) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    async with connected(server(act)) as plain:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await RerankerStub(plain).Rerank(RerankRequest(), timeout=0.05)
        await ended.wait()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_very_long_detail_still_arrives() -> None:
    async def act(query: str, rpc: Any) -> str:
        raise TABLE[0]("ü" * 100_000, field="f" * 10_000)

    async with connected(server(act)) as plain:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await RerankerStub(plain).Rerank(RerankRequest())
    assert caught.value.code() == TABLE[0].grpc_status
    assert (caught.value.details() or "").startswith("üüü")


async def test_health_says_serving_only_when_told_so() -> None:
    started = server()
    async with connected(started) as plain:
        assert [await health(plain, name) for name in ("", *NAMES)] == [NOT_SERVING] * 3
        await started.set_serving(True)
        assert [await health(plain, name) for name in ("", *NAMES)] == [SERVING] * 3
        watch = health_pb2_grpc.HealthStub(plain).Watch(health_pb2.HealthCheckRequest(service=NAMES[0]))
        assert (await watch.read()).status == SERVING
        await started.set_serving(False)
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(plain, "nobody")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services() -> None:
    async with connected(server()) as plain:
        stub = reflection_pb2_grpc.ServerReflectionStub(plain)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name for service in (await call.read()).list_services_response.service}
    assert names == {*NAMES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_an_unknown_method_is_unimplemented() -> None:
    async with connected(server()) as plain:
        raw: Any = plain.unary_unary("/ragline.v1.Reranker/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_second_server_on_the_port_does_not_start() -> None:
    first, second = server(), None
    port = await first.start()
    second = server(address=f"127.0.0.1:{port}", setting="RERANKER_GRPC_PORT")
    with pytest.raises(
        SettingsError, match=rf"127\.0\.0\.1:{port}: address already in use; set RERANKER_GRPC_PORT"
    ):
        await second.start()
    await second.stop(0)
    await first.stop(0)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "127.0.0.1:x", "no.such.host.invalid:1"])
async def test_an_address_that_is_none_does_not_start(address: str) -> None:
    bad = server(address=address)
    with pytest.raises(SettingsError, match=address):
        await bad.start()
    await bad.stop(0)


async def test_stopping_lets_the_calls_in_flight_end() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def act(query: str, rpc: Any) -> str:
        arrived.set()
        await go.wait()
        return query

    started = server(act)
    async with connected(started) as plain:
        call = RerankerStub(plain).Rerank(RerankRequest(query="late"))
        await arrived.wait()
        stopping = asyncio.create_task(started.stop())
        await refused(plain)
        go.set()
        assert (await call).scorer == "late"
        await stopping


async def test_stopping_ends_what_takes_longer_than_the_drain() -> None:
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def act(query: str, rpc: Any) -> str:
        try:
            arrived.set()
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    started = server(act, drain_s=0.05)
    async with connected(started) as plain:
        call = RerankerStub(plain).Rerank(RerankRequest())
        await arrived.wait()
        await started.stop()
        await ended.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_a_stream_runs_in_one_context_from_end_to_end() -> None:
    async def tell(query: str, rpc: Any) -> AsyncIterator[str]:
        for _ in range(3):
            yield context.request_id()

    async with connected(server(tell=tell)) as plain:
        call = GeneratorStub(plain).Answer(AnswerRequest(), metadata=[("x-request-id", "r1")])
        assert [event.token.text async for event in call] == ["r1"] * 3
