"""A service for tests of the door: the kit's own HTTP server, with routes that do as each request says.

``python -m tests.nginx.behaviour NAME PORT FOLDER`` serves; every request that arrives adds a line to FOLDER/NAME.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import orjson
import uvloop
from fastapi import APIRouter, Body, Request, Response, WebSocket
from sse_starlette import EventSourceResponse
from starlette.responses import StreamingResponse

from ragline.errors import Overloaded, Unavailable
from ragline.http import create_app, sse
from ragline.http.server import HttpServer

POLL_S = 0.01

Orders = Annotated[dict[str, Any], Body()]


class Gates:
    """Places where a request waits until the test lets it go on, and what arrived: files in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def note(self, text: str) -> None:
        """Tell the test."""
        with (self.folder / self.name).open("a") as file:
            file.write(f"{text}\n")

    async def passing(self, gate: str) -> None:
        """Wait until the test opens the gate."""
        while not (self.folder / gate).exists():  # noqa: ASYNC110 - the test is another process
            await asyncio.sleep(POLL_S)


def router(gates: Gates) -> APIRouter:
    """All routes that any service has, as far as the door is concerned."""
    routes = APIRouter()

    async def obey(orders: Orders, request: Request) -> Response:
        gates.note(f"{request.method} {request.url.path} {request.headers['x-request-id']}")
        return await carry_out(gates, orders, request)

    for path in (
        *("/embed", "/retrieve", "/rerank", "/generate", "/summarize", "/feedback", "/sessions"),
        *("/chat/completions", "/embeddings"),
    ):
        routes.add_api_route(path, obey, methods=["POST"])

    async def receive(request: Request) -> Response:
        return await received(gates, request)

    for path in ("/documents", "/batches"):
        routes.add_api_route(path, receive, methods=["POST"])

    async def show(request: Request) -> Response:
        gates.note(f"{request.method} {request.url.path} {request.headers['x-request-id']}")
        if request.query_params.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        return seen(gates.name, request)

    for path in (
        *("/documents/{rest:path}", "/jobs/{rest:path}", "/batches/{rest:path}", "/sessions/{rest:path}"),
        *("/documents", "/collections", "/collections/{rest:path}", "/models", "/models/{rest:path}"),
    ):
        routes.add_api_route(path, show, methods=["GET", "DELETE"])
    routes.add_api_websocket_route("/chat", partial(echo, gates.name))
    return routes


async def echo(name: str, socket: WebSocket) -> None:
    """Send back what comes; ``close`` closes."""
    await socket.accept()
    async for text in socket.iter_text():
        if text == "close":
            await socket.close(4321)
            return
        await socket.send_text(f"{name} {socket.url.path} {text}")


async def carry_out(gates: Gates, orders: dict[str, Any], request: Request) -> Response:
    """Do what the body of a request says."""
    match orders.get("do"):
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":
            await waiting(gates, orders["for"])
        case "refuse":
            raise Overloaded("Full.", retry_after_s=7) if orders["status"] == 429 else Unavailable("Away.")
        case "fill":
            return Response(b'"' + b"x" * orders["bytes"] + b'"', media_type="application/json")
        case "stream":
            return sse(events(gates, orders), heartbeat_s=orders.get("heartbeat_s", 10))
        case "stream plainly":
            frames = ({"event": name, "data": str(data)} async for name, data in events(gates, orders))
            return EventSourceResponse(frames, headers={"X-Accel-Buffering": ""})
        case "break":
            return StreamingResponse(breaking(), media_type="application/json", headers={"Content-Length": "100"})
    return seen(gates.name, request)


async def waiting(gates: Gates, gate: str) -> None:
    """Wait for a gate; tell where the client left before it opened."""
    try:
        await gates.passing(gate)
    except asyncio.CancelledError:
        gates.note("cancelled")
        raise


async def events(gates: Gates, orders: dict[str, Any]) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """``count`` tokens, each after the first behind a gate; tells when it is closed before the end."""
    try:
        for number in range(orders["count"]):
            if number:
                await gates.passing(f"{orders['for']}{number}")
            yield "token", {"text": f"{number} "}
        yield "done", {"name": gates.name}
    except (GeneratorExit, asyncio.CancelledError):
        gates.note("left")
        raise


async def breaking() -> AsyncGenerator[bytes, None]:
    """Less of a body than was announced, then death."""
    yield b'{"begun": '
    await asyncio.sleep(POLL_S)  # so that the first part is on its way
    os.kill(os.getpid(), signal.SIGKILL)


async def received(gates: Gates, request: Request) -> Response:
    """Count an upload as it comes, telling of its first bytes."""
    gates.note(f"{request.method} {request.url.path} {request.headers['x-request-id']}")
    if request.query_params.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    size = 0
    async for part in request.stream():
        if part and not size:
            gates.note("first bytes")
        size += len(part)
    return Response(f'{{"bytes":{size}}}', status_code=202, media_type="application/json")


def seen(name: str, request: Request) -> Response:
    """What of a request arrived here."""
    arrived = {
        "name": name,
        "method": request.method,
        "path": request.scope["raw_path"].decode(),
        "query": request.url.query,
        "headers": {key: request.headers.getlist(key) for key in request.headers},
    }
    headers = {"X-Accel-Redirect": "/healthz"}  # no service sends it; the door must not obey it
    return Response(orjson.dumps(arrived), media_type="application/json", headers=headers)


async def main(name: str, port: int, folder: Path) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    app = create_app(name, [router(Gates(name, folder))], checks={}, max_body_mb=1)
    server = HttpServer(app, "127.0.0.1", port)
    await server.start()
    await stopping.wait()
    await server.stop(5)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
