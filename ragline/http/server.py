"""Runs an application behind uvicorn on a socket of ours, without its signal handling and its log."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from ragline.addresses import joined, listening
from ragline.http.websocket import MAX_MESSAGE, PING_S, Draining
from ragline.http.whole import Whole

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - shown, not bound


class HttpServer:
    """Serves ``app`` on ``host:port``; port 0 takes a free one. ``setting`` is named when that fails."""

    def __init__(self, app: FastAPI, host: str, port: int, *, setting: str = "port") -> None:
        self.host = host
        self.port = port
        self.setting = setting
        config = uvicorn.Config(
            app,
            http=Whole,
            ws=Draining,
            ws_max_size=MAX_MESSAGE,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,  # small messages: it would cost memory for each connection
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        self.server = Quiet(config)
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; returns the URL. Raises SettingsError where the address cannot be had."""
        listener = listening(self.host, self.port, self.setting)
        self.port = listener.getsockname()[1]
        self.task = asyncio.create_task(self.server.serve(sockets=[listener]))
        up = asyncio.create_task(self.server.up.wait())
        await asyncio.wait({self.task, up}, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            up.cancel()
            self.task.result()
        host = WILDCARDS.get(self.host, self.host)
        return f"http://{joined(host, self.port)}"

    async def stop(self, drain_s: float) -> None:
        """Accept no more, give the requests in flight ``drain_s`` seconds, then cancel them."""
        if self.task is None:
            return
        self.server.config.timeout_graceful_shutdown = math.ceil(drain_s)
        self.server.should_exit = True
        await self.task


class Quiet(uvicorn.Server):
    """uvicorn's server, leaving signals to its owner and saying when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Touch no signal."""
        yield
