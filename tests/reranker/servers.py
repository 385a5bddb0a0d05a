"""Runs servers that the scorers http and llm ask: of the dialects, llama.cpp itself, and a proxy that fails."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import xllamacpp
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tests.reranker.dialects import KEY, app_of, chat, cohere


class Running(uvicorn.Server):
    """Serves in a thread of its own, so that a test's event loop may be busy or none."""

    def __init__(self, app: Any, **config: Any) -> None:
        super().__init__(
            uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1, **config)
        )
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if config else ''}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.up = threading.Event()
        self.thread = threading.Thread(target=self.run, kwargs={"sockets": [self.listener]}, daemon=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextmanager
def serving(app: Any, **config: Any) -> Iterator[str]:
    """The URL of a server of ``app``; ``config`` is uvicorn's, for TLS."""
    server = Running(app, **config)
    server.thread.start()
    assert server.up.wait(30)
    try:
        yield server.url
    finally:
        server.should_exit = True
        server.thread.join(30)


class Faults:
    """A proxy before a server: ``plan`` holds what happens to the next requests; after those all pass.

    A fault is a status (with headers), a text that is the answer, a change to the server's real answer, half an
    answer ("cut"), or an event until which nothing is said.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.plan: list[Any] = []
        self.seen: list[Any] = []
        self.arrived = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.now = self.most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        body = await request.body()
        with self.lock:
            fault = self.plan.pop(0) if self.plan else None
            self.seen.append(json.loads(body))
            self.now += 1
            self.most = max(self.most, self.now)
        self.arrived.release()
        try:
            response = await self.answer(request, body, fault)
        finally:
            self.now -= 1
        await response(scope, receive, send)

    async def answer(self, request: Request, body: bytes, fault: Any) -> Response:
        match fault:
            case (int(status), dict(headers)):
                return JSONResponse({"message": "not now"}, status, headers)
            case int(status):
                return JSONResponse({"message": "not now"}, status)
            case "cut":
                return StreamingResponse(half(), headers={"content-length": "1000"})
            case str(text):
                return Response(text, media_type="application/json")
            case threading.Event():
                await asyncio.to_thread(fault.wait, 30)
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:  # noqa: S501 - it speaks plain HTTP
            headers = {"authorization": request.headers.get("authorization", "")}
            found = await client.post(
                self.upstream + request.url.path,
                content=body,
                headers=headers | {"content-type": "application/json"},
            )
        content = json.dumps(fault(found.json())) if callable(fault) else found.text
        return Response(content, found.status_code, media_type="application/json")


async def half() -> AsyncIterator[bytes]:
    """The beginning of an answer whose rest never comes."""
    yield b'{"results": ['
    raise ConnectionResetError


class LlamaServer:
    """llama.cpp's HTTP server with one chat model, on a free port of loopback."""

    def __init__(self, file: Path, context: int = 1024) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel, params.verbosity, params.port = context, 1, -1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [KEY]
        self.server = xllamacpp.Server(params)
        self.url = f"{self.server.listening_address}/v1"


@contextmanager
def options_for(name: str) -> Iterator[dict[str, Any]]:
    """Options with which the scorer ``name`` works, while its server runs; {} for one that needs none."""
    made: Mapping[str, tuple[Callable[[FastAPI], None], dict[str, Any]]] = {
        "http": (cohere, {"shape": "cohere", "model": "words"}),
        "llm": (chat(), {"model": "words", "mode": "pointwise"}),
    }
    if name not in made:
        yield {}
        return
    add, options = made[name]
    with serving(app_of(add)) as url:
        yield {"url": url, "api_key": KEY} | options
