"""The gRPC server that every service runs: health, reflection, errors as statuses, deadlines, drain."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ragline import context, metrics
from ragline.addresses import listening, split
from ragline.errors import Internal, RaglineError
from ragline.settings import SettingsError

EXTRA_KEY = "ragline-error-bin"
REQUEST_ID_KEY = "x-request-id"
MAX_DETAIL_BYTES = 2_000  # percent-encoded it may be three times as long, and metadata is bounded
MAX_METADATA_BYTES = 64 * 1024
MB = 1024 * 1024
CLIENT_PING_MS = 2_000  # while a call waits: so a server that is frozen, not gone, is noticed

log = structlog.get_logger(__name__)


class GrpcServer:
    """Serves what ``add`` registers on ``address`` (``host:port``; port 0 takes a free one).

    ``add`` returns the full names of the services it added. Until ``set_serving(True)`` health says
    NOT_SERVING. ``connection_age_s`` makes clients connect anew now and then, which is when they look up
    the replicas; calls in flight are finished on the old connection. None keeps connections for ever.
    ``setting`` is named when the address cannot be had.
    """

    def __init__(
        self,
        address: str,
        add: Callable[[grpc.aio.Server], Sequence[str]],
        *,
        max_message_mb: int,
        drain_s: float,
        connection_age_s: float | None = None,
        setting: str = "grpc_port",
    ) -> None:
        self.address = address
        self.setting = setting
        self.drain_s = drain_s
        self.health = health.aio.HealthServicer()
        self.server = grpc.aio.server(interceptors=[Boundary()], options=options(max_message_mb, connection_age_s))
        self.names = ["", *add(self.server)]
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        reflection.enable_server_reflection(
            [*self.names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME], self.server
        )

    async def start(self) -> int:
        """Listen; returns the port. Raises SettingsError where the address cannot be had."""
        await self.set_serving(False)
        listening(*split(self.address), self.setting).close()  # gRPC itself does not say why it cannot
        try:
            port = self.server.add_insecure_port(self.address)
        except RuntimeError:
            raise SettingsError(f"Cannot listen on {self.address}; set {self.setting} to another.") from None
        await self.server.start()
        return port

    async def set_serving(self, serving: bool) -> None:
        """What the standard health service answers from now on."""
        status = health_pb2.HealthCheckResponse
        for name in self.names:
            await self.health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, drain_s: float | None = None) -> None:
        """Say NOT_SERVING, take no more calls, give those in flight ``drain_s`` seconds, then cancel them."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(self.drain_s if drain_s is None else drain_s)


def options(max_message_mb: int, connection_age_s: float | None) -> list[tuple[str, int]]:
    """The channel arguments of a server."""
    chosen = [
        ("grpc.max_receive_message_length", max_message_mb * MB),
        ("grpc.max_send_message_length", max_message_mb * MB),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
        ("grpc.so_reuseport", 0),  # otherwise a second process takes half of the calls without a word
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", CLIENT_PING_MS // 2),  # more often counts as an attack
    ]
    if connection_age_s is not None:
        # No grace is set: a stream may last longer than any grace, and it keeps its connection until it ends.
        chosen.append(("grpc.max_connection_age_ms", int(connection_age_s * 1000)))
    return chosen


class Boundary(grpc.aio.ServerInterceptor):
    """The one place where errors become gRPC statuses; it also opens the request's context."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler with the boundary around it, whichever of the four kinds it is."""
        handler = await continuation(handler_call_details)
        if handler is None:  # no such method: grpc answers UNIMPLEMENTED
            return None
        kind = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        wrap = streaming if handler.response_streaming else unary
        wrapped = wrap(getattr(handler, kind), handler_call_details.method)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        made: grpc.RpcMethodHandler[Any, Any] = make(
            wrapped, handler.request_deserializer, handler.response_serializer
        )
        return made


def unary(behaviour: Callable[..., Any], method: str) -> Callable[..., Awaitable[Any]]:
    """A handler that answers once."""

    async def bounded(request: Any, rpc: grpc.aio.ServicerContext[Any, Any]) -> Any:
        async def work() -> Any:
            answer = behaviour(request, rpc)
            return await answer if inspect.isawaitable(answer) else answer

        return await guarded(work, rpc, method)

    return bounded


def streaming(behaviour: Callable[..., Any], method: str) -> Callable[..., Awaitable[None]]:
    """A handler that answers in a stream; errors between two messages are caught too."""

    async def bounded(request: Any, rpc: grpc.aio.ServicerContext[Any, Any]) -> None:
        async def work() -> None:
            answer = behaviour(request, rpc)
            if not hasattr(answer, "__aiter__"):  # it writes to the context itself
                await answer
                return
            try:
                async for message in answer:
                    await rpc.write(message)
            finally:
                if hasattr(answer, "aclose"):  # what it holds is let go now, not when it is collected
                    await answer.aclose()

        await guarded(work, rpc, method)

    return bounded


async def guarded(work: Callable[[], Awaitable[Any]], rpc: grpc.aio.ServicerContext[Any, Any], method: str) -> Any:
    """Run ``work`` in the request's context and count it; a planned abort and a cancellation pass untouched."""
    with context.bind(caller_id(rpc), time_left_s(rpc)), counted(rpc, method):
        try:
            return await work()
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except RaglineError as error:
            if error.http_status >= 500:
                log.warning("failed", method=method, status=error.grpc_status.name, detail=error.detail)
            await refuse(rpc, error)
        except Exception:  # the outermost boundary: the text stays here, the caller gets INTERNAL
            log.exception("crashed", method=method)
            await refuse(rpc, Internal())


@contextmanager
def counted(rpc: grpc.aio.ServicerContext[Any, Any], method: str) -> Iterator[None]:
    """Count a call by its method and how it ended; there are as many methods as are served."""
    calls = metrics.counter("ragline_grpc_requests", "gRPC calls answered.", ("method", "status"))
    seconds = metrics.histogram("ragline_grpc_request_seconds", "From a call to its last message.", ("method",))
    begun, cancelled = time.monotonic(), False
    try:
        yield
    except asyncio.CancelledError:
        cancelled = True
        raise
    finally:
        code = grpc.StatusCode.CANCELLED if cancelled else rpc.code()
        calls.labels(method, code.name if isinstance(code, grpc.StatusCode) else "OK").inc()
        seconds.labels(method).observe(time.monotonic() - begun)


async def refuse(rpc: grpc.aio.ServicerContext[Any, Any], error: RaglineError) -> None:
    """End the call with the error's row of the table."""
    detail = error.detail.encode("utf-8", "replace")[:MAX_DETAIL_BYTES].decode("utf-8", "ignore")
    await rpc.abort(error.grpc_status, detail, ((EXTRA_KEY, error.to_bytes()),))


def caller_id(rpc: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The request id that the caller sent, or a new one."""
    for key, value in rpc.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str):
            return context.accepted_id(value) or context.new_id()
    return context.new_id()


def time_left_s(rpc: grpc.aio.ServicerContext[Any, Any]) -> float | None:
    """Seconds to the caller's deadline; None where it set none."""
    left: float | None = rpc.time_remaining()
    return None if left is None or math.isinf(left) else left
