"""What happens to every request before its route: id, deadline, access line, bounds, a client that leaves."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragline import context
from ragline.errors import Internal, InvalidRequest, RaglineError, TimedOut
from ragline.http.problems import clipped, problem
from ragline.metrics import HttpMetrics

REQUEST_ID_HEADER = "x-request-id"
TIMEOUT_HEADER = "x-request-timeout-s"
MAX_TIMEOUT_S = 3600.0
PROBES = ("/healthz", "/readyz", "/metrics")
LEFT = 499  # logged for a client that left before its answer began

log = structlog.get_logger("ragline.access")


class Access:
    """The outermost layer: id and deadline in, id and one log line out, and no exception without an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.metrics = HttpMetrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request in its own context."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with context.bind(context.accepted_id(headers.get(REQUEST_ID_HEADER)) or context.new_id()) as identity:
            answer = Answer(send, identity)
            self.metrics.begin()
            began = time.perf_counter()
            try:
                limit_s = timeout_s(headers)
                if limit_s is None:
                    await self.app(scope, receive, answer.send)
                else:
                    await self.timed(limit_s, scope, receive, answer)
            except RaglineError as error:
                await answer.fail(error, scope, receive)
            except Exception as error:  # the outermost boundary: the text stays in the log
                log.exception("crashed", method=scope["method"], path=scope["path"])
                await answer.fail(error, scope, receive)
            finally:
                seconds = time.perf_counter() - began
                self.metrics.end(scope, answer.status, seconds)
                tell(scope, answer.status, seconds)

    async def timed(self, limit_s: float, scope: Scope, receive: Receive, answer: Answer) -> None:
        """Serve the request, within ``limit_s`` seconds until the answer begins; a stream minds them itself."""
        try:
            with context.bind(timeout_s=limit_s):
                async with asyncio.timeout(limit_s) as answer.limit:
                    await self.app(scope, receive, answer.send)
        except TimeoutError:
            raise TimedOut(
                f"The work was not done in the time that {TIMEOUT_HEADER} allows; allow more."
            ) from None


class Answer:
    """The response as it goes out: adds the request id, remembers the status."""

    def __init__(self, send: Send, identity: str) -> None:
        self.out = send
        self.identity = identity
        self.status = LEFT
        self.started = False
        self.limit: asyncio.Timeout | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self.identity
            if self.limit is not None:
                self.limit.reschedule(None)
        await self.out(message)

    async def fail(self, error: Exception, scope: Scope, receive: Receive) -> None:
        """Answer with the problem; once the answer has begun only breaking it off tells the client."""
        if self.started:
            raise error
        self.limit = None
        await problem(error if isinstance(error, RaglineError) else Internal())(scope, receive, self.send)


def timeout_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that the caller allows; None where it says nothing. Raises InvalidRequest for nonsense."""
    given = headers.get(TIMEOUT_HEADER)
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_S:  # also false for nan
        raise InvalidRequest(
            f"{TIMEOUT_HEADER} is {clipped(given, 40)!r}; send seconds over 0, at most {MAX_TIMEOUT_S:.0f}.",
            field=TIMEOUT_HEADER,
        )
    return seconds


def tell(scope: Scope, status: int, seconds: float) -> None:
    """The access line; the query string is left out, it may hold what is nobody's business."""
    write = log.debug if scope["path"] in PROBES else log.info
    write("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 2))


class Presence:
    """Cancels the work for a client that leaves before its answer began.

    Once it has begun the departure is passed on, for a stream to end itself in order.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request while watching its client."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        watch = Watch(receive, send)
        pump = asyncio.create_task(watch.pump())
        try:
            await self.app(scope, watch.receive, watch.send)
        except asyncio.CancelledError:
            if not watch.left or watch.worker.uncancel():
                raise
        finally:
            pump.cancel()


class Watch:
    """One request's messages, read ahead by one so that a disconnect is seen while the handler works."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.source = receive
        self.out = send
        self.messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self.started = False
        self.left = False
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is run by a task
        self.worker = task

    async def pump(self) -> None:
        """Hand on what the client sends until it leaves."""
        while True:
            message = await self.source()
            if message["type"] == "http.disconnect" and not self.started:
                self.left = True
                self.worker.cancel("the client left")
                return
            await self.messages.put(message)
            if message["type"] == "http.disconnect":
                return

    async def receive(self) -> Message:
        """What the client sent next."""
        return await self.messages.get()

    async def send(self, message: Message) -> None:
        """Pass a message on, noting that the answer has begun."""
        self.started = True
        await self.out(message)
