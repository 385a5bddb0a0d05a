"""Calls to other services: a channel each, deadlines, retries where they are safe, errors as they were raised."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeVar

import grpc
import structlog

from ragline import context
from ragline.errors import RaglineError, TimedOut, TooLarge, Unavailable, from_grpc
from ragline.grpc_server import CLIENT_PING_MS, EXTRA_KEY, MAX_METADATA_BYTES, MB, REQUEST_ID_KEY

log = structlog.get_logger(__name__)

Request = TypeVar("Request")
Response = TypeVar("Response")

# Sending one of these again does no harm, so a call that met a dying server is sent again.
IDEMPOTENT = (
    "ragline.v1.Preprocess/Embed",
    "ragline.v1.Reranker/Rerank",
    "ragline.v1.Retriever/Search",
    "ragline.v1.Retriever/Reserve",
    "ragline.v1.Retriever/Upsert",
    "ragline.v1.Retriever/Settle",
    "ragline.v1.Retriever/Delete",
    "ragline.v1.Retriever/GetDocument",
    "ragline.v1.Retriever/ListDocuments",
    "ragline.v1.Retriever/KnownUris",
    "ragline.v1.Retriever/Describe",
)
PING_TIMEOUT_MS = 3_000
CONNECT_MS = 3_000
SCHEMES = ("ipv4:", "ipv6:", "unix:")  # addresses that gRPC itself resolves; anything else is a name for DNS
# Together the tries take longer than a server that came back waits for its next connection, so that the last of
# the others may go at once.
RECONNECT_MS = 200
RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    # A server that is ending answers what reached it last with CANCELLED.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}


def channel(address: str, *, max_message_mb: int, idempotent: Sequence[str] = IDEMPOTENT) -> grpc.aio.Channel:
    """A channel to every replica behind ``address`` (``host:port``), taking turns between them.

    ``idempotent`` (``package.Service/Method``) are sent again, up to four times, when the server is not
    there. A server that comes back is found again within about a quarter of a second, a new replica when the
    servers next end a connection for its age, and one that is frozen is left after about five seconds. A
    connection may take three seconds to be made. Nothing connects until a call.
    """
    target = address if "://" in address or address.startswith(SCHEMES) else f"dns:///{address}"
    return grpc.aio.insecure_channel(target, options=options(max_message_mb, idempotent))


def options(max_message_mb: int, idempotent: Sequence[str]) -> list[tuple[str, Any]]:
    """The channel arguments of a client."""
    names = [dict(zip(("service", "method"), path.split("/"), strict=True)) for path in idempotent]
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": names, "retryPolicy": RETRY}] if names else [],
    }
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", max_message_mb * MB),
        ("grpc.max_send_message_length", max_message_mb * MB),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),  # the name misleads: how long making a connection may take
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.keepalive_time_ms", CLIENT_PING_MS),
        ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
        (
            "grpc.http2.ping_timeout_ms",
            PING_TIMEOUT_MS,
        ),  # of pings that measure the line; keepalive waits for those
        ("grpc.http2.max_pings_without_data", 0),  # no end to them while a call waits
        ("grpc.enable_http_proxy", 0),  # a proxy set for the way out must not catch calls inside
    ]


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, timeout_s: float
) -> Response:
    """The answer; waits at most ``timeout_s`` seconds, or less where the request in hand has less left.

    Raises what the other side raised (a row of ``ragline.errors``). Cancelling the caller cancels the call.
    """
    limit_s = allowed_s(timeout_s)
    try:
        return await method(request, timeout=limit_s, metadata=metadata())
    except grpc.aio.AioRpcError as error:
        raise restored(error, limit_s, callee(request)) from error


async def stream(
    method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request, *, timeout_s: float
) -> AsyncGenerator[Response, None]:
    """The messages as they come; limits, errors and cancelling as in ``call``, closing it early cancels too."""
    limit_s = allowed_s(timeout_s)
    rpc = method(request, timeout=limit_s, metadata=metadata())
    try:
        async for message in rpc:
            yield message
    except grpc.aio.AioRpcError as error:
        raise restored(error, limit_s, callee(request)) from error
    finally:
        rpc.cancel()


def allowed_s(timeout_s: float) -> float:
    """The smaller of the call's own limit and what the request in hand has left."""
    return min(timeout_s, context.remaining_s(timeout_s))


def metadata() -> grpc.aio.Metadata:
    """What travels with each call."""
    identity = context.request_id()
    return grpc.aio.Metadata((REQUEST_ID_KEY, identity)) if identity else grpc.aio.Metadata()


def callee(request: Any) -> str:
    """The service that a message is for: each has a proto file of its name."""
    return PurePosixPath(request.DESCRIPTOR.file.name).stem


def restored(error: grpc.aio.AioRpcError, limit_s: float, service: str) -> RaglineError:
    """The error that the other side raised, or what gRPC's own status means for the caller.

    gRPC's own words hold addresses; they go to the log and not to the caller.
    """
    detail = error.details() or ""
    for key, value in error.trailing_metadata() or ():
        if key == EXTRA_KEY and isinstance(value, bytes):
            return from_grpc(error.code(), detail, value)
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut(f"The {service} service did not answer within {limit_s:.3g} s; allow more time.")
        case grpc.StatusCode.UNAVAILABLE:
            log.warning("a service does not answer", service=service, reason=detail)
            return Unavailable(f"The {service} service does not answer; is it running?")
        case grpc.StatusCode.UNIMPLEMENTED:
            log.warning("a service does not know a call", service=service, reason=detail)
            return Unavailable(f"The {service} service does not know the call; are its address and version right?")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in detail:
            return TooLarge(f"A message between services is over RAGLINE_MAX_MESSAGE_MB ({detail}).")
        case code:
            return from_grpc(code, detail)
