"""Serves one service, or several in one process: REST and gRPC doors, readiness, signals, drain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import grpc
import structlog
import uvloop
from fastapi import APIRouter

from ragline import log as logs
from ragline import rates
from ragline.addresses import joined
from ragline.errors import Unavailable
from ragline.grpc_server import GrpcServer
from ragline.http import create_app, openai, origins
from ragline.http.page import Page
from ragline.http.ready import READY, Check, run_all
from ragline.http.server import HttpServer
from ragline.rates import Rates
from ragline.settings import Settings, SettingsError, load

BAD_SETTINGS = 2
INTERRUPTED = 130
PROCESS = "process"
STARTING_POLL_S = 0.1
SERVING_POLL_S = 1.0

S = TypeVar("S", bound=Settings)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """One service, built and wired, serving nothing yet.

    ``add_rpc`` registers its servicers and returns their full names. ``checks`` raise while a part is not
    ready. ``start`` begins background work once the doors are open; ``stop`` ends it and closes stores after
    they have closed, also where ``start`` failed or was never called. ``dialects`` are routes as clients of others
    expect them, under ``/v1`` alone.
    """

    name: str
    router: APIRouter
    add_rpc: Callable[[grpc.aio.Server], Sequence[str]]
    checks: Mapping[str, Check]
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    dialects: APIRouter = field(default_factory=APIRouter)


class Listening(Protocol):
    """What the settings of a service say of its doors."""

    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def grpc_port(self) -> int: ...  # noqa: D102


def run(build: Callable[[S], Awaitable[Service]], settings_class: type[S]) -> None:
    """A service's whole ``main``: settings, log, ``build``, serve until a signal; exits the process."""

    async def main() -> None:
        settings = load(settings_class)
        logs.configure(settings.log_level, settings.log_format)
        settings.make_data_dir()
        doors = cast("Listening", settings)  # every service's Settings has these
        service = await build(settings)
        await serve(
            [service],
            http_address=(doors.host, doors.port),
            grpc_addresses={service.name: joined(doors.host, doors.grpc_port)},
            settings=settings,
            title=f"ragline {service.name}",
        )

    execute(main)


def execute(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` on uvloop and exit: 0, or 2 with one sentence on stderr for a bad setting."""
    try:
        uvloop.run(main())
    except SettingsError as error:
        sys.stderr.write(f"ragline: {error}\n")
        sys.exit(BAD_SETTINGS)
    except KeyboardInterrupt:  # before the signal handlers were in place
        sys.exit(INTERRUPTED)
    sys.exit(0)


async def serve(
    services: Sequence[Service],
    *,
    http_address: tuple[str, int],
    grpc_addresses: Mapping[str, str],
    settings: Settings,
    title: str,
    on_ready: Callable[[str], None] | None = None,
    page: Page | None = None,
) -> None:
    """Serve ``services`` in this process until SIGTERM or SIGINT; returns when all is closed.

    All routers share one REST port, that of ``http_address``; each service has a gRPC server at its
    ``grpc_addresses``. Port 0 takes a free one. ``on_ready`` gets the URL when every check has passed for the
    first time. ``page`` is what browsers get at ``/``. Ending (cancelling does the same): not ready, REST
    drains, then gRPC, the last service first, since the doors in front call those behind; ``drain_s`` bounds
    it all; then each service stops. Raises SettingsError for an address that cannot be had.
    """
    process = Process(services)
    async with AsyncExitStack() as closing:
        app = create_app(
            title,
            [s.router for s in services],
            checks=process.checks,
            max_body_mb=settings.max_body_mb,
            per_minute=limit(settings, closing),
            page=page,
        )
        openai.speak(app, [s.dialects for s in services])
        origins.allow(app, settings.cors_origins)
        ending = closing.enter_context(signals())
        for service in services:
            closing.push_async_callback(service.stop)
        for service in services:
            server = GrpcServer(
                grpc_addresses[service.name],
                service.add_rpc,
                max_message_mb=settings.max_message_mb,
                drain_s=settings.drain_s,
                connection_age_s=settings.connection_age_s,
                setting=f"{service.name.upper()}_GRPC_PORT",
            )
            await server.start()
            process.servers[service.name] = server
            closing.push_async_callback(process.close, server)
        http = HttpServer(app, *http_address, setting=f"{settings.prefix()}PORT")
        url = await http.start()
        closing.push_async_callback(process.close, http)
        closing.push_async_callback(process.end, settings.drain_s)
        await until(ending, process.live(url, on_ready or announce), http)


def limit(settings: Settings, closing: AsyncExitStack) -> tuple[Rates, int] | None:
    """What counts the requests, and how many may come in a minute; None for any number."""
    if not settings.max_requests_per_minute:
        return None
    counting = rates.open(settings.rates_url)
    closing.push_async_callback(counting.close)
    return counting, settings.max_requests_per_minute


async def until(ending: asyncio.Event, work: Coroutine[Any, Any, None], http: HttpServer) -> None:
    """Run ``work`` until ``ending``; raises what ends either it or the REST door before that."""
    assert http.task is not None  # noqa: S101 - it was started
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(ending.wait())
    try:
        done, _ = await asyncio.wait({working, waiting, http.task}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waiting.cancel()
        working.cancel()
        await asyncio.wait({waiting, working})


class Process:
    """The state of everything that is served here: starting, serving, stopping."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.services = services
        self.servers: dict[str, GrpcServer] = {}
        self.state = "starting"
        self.drained_at = 0.0
        self.checks: dict[str, Check] = {PROCESS: self.check}
        for service in services:
            self.checks |= {f"{service.name}.{name}": check for name, check in service.checks.items()}

    async def check(self) -> None:
        """Raise Unavailable unless serving."""
        if self.state != "serving":
            raise Unavailable(f"The process is {self.state}.")

    async def live(self, url: str, on_ready: Callable[[str], None]) -> None:
        """Start the services, then keep gRPC health true to the checks; never ends by itself."""
        for service in self.services:
            await service.start()
        self.state = "serving"
        announced = False
        before: dict[str, str] = {}
        while True:
            states = await run_all(self.checks)
            for name, server in self.servers.items():
                own = [state for check, state in states.items() if check.startswith(f"{name}.")]
                await server.set_serving(all(state == READY for state in own))
            waiting = {name: state for name, state in states.items() if state != READY}
            if waiting != before:
                log.info("not ready" if waiting else "ready again", checks=waiting)
                before = waiting
            if not waiting and not announced:
                announced = True
                on_ready(url)
            await asyncio.sleep(SERVING_POLL_S if announced else STARTING_POLL_S)

    async def end(self, drain_s: float) -> None:
        """No longer ready; the time to drain runs from here."""
        self.state = "stopping"
        self.drained_at = time.monotonic() + drain_s
        for server in self.servers.values():
            await server.set_serving(False)

    async def close(self, server: GrpcServer | HttpServer) -> None:
        """Stop a door in what is left of the time to drain."""
        await server.stop(max(0.0, self.drained_at - time.monotonic()))


def announce(url: str) -> None:
    """Say in the log that everything is ready."""
    log.info("ready", url=url)


@contextmanager
def signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets; another SIGINT ends the process at once.

    Outside the main thread, where there are no signals, nothing sets it.
    """
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def interrupted() -> None:
        if event.is_set():
            os._exit(INTERRUPTED)
        event.set()

    loop.add_signal_handler(signal.SIGTERM, event.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield event
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
