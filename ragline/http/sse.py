"""Typed server-sent events with heartbeats, whose work ends when the client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import orjson
import structlog
from fastapi import Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from ragline import context
from ragline.errors import Internal, RaglineError, TimedOut
from ragline.http.problems import encoded

HEARTBEAT_S = 10.0
EVENT_STREAM: dict[str, Any] = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}  # in OpenAPI
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

log = structlog.get_logger(__name__)

Event = tuple[str, Mapping[str, Any]]


def sse(events: AsyncIterator[Event], *, heartbeat_s: float = HEARTBEAT_S) -> Response:
    """A stream of ``events`` (type, data): ``event: token``, ``data: {...}``.

    The response begins with the first event, so what fails before it has a proper status. A failure after
    it is the last event, ``error``, with the problem document. A comment every ``heartbeat_s`` seconds keeps
    proxies from closing the stream. ``events`` is closed as soon as the client has left.
    """
    return EventStream(events, heartbeat_s)


class EventStream(EventSourceResponse):
    """The response that ``sse`` makes."""

    def __init__(self, events: AsyncIterator[Event], heartbeat_s: float) -> None:
        self.events = events
        super().__init__(
            self.frames(), headers=HEADERS, sep="\n", ping=heartbeat_s, ping_message_factory=heartbeat
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the first event, then stream; the events are closed however it ends."""
        try:
            self.first = await following(self.events)
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self.events, AsyncGenerator):
                await self.events.aclose()

    async def frames(self) -> AsyncIterator[ServerSentEvent]:
        """The events as they are written; a failure is the last of them."""
        event = self.first
        while event is not None:
            yield self.frame(*event)
            try:
                event = await following(self.events)
            except RaglineError as error:
                yield self.failure(error)
                return
            except Exception:  # the outermost boundary: the status is sent, so the failure is told as an event
                log.exception("crashed")
                yield self.failure(Internal())
                return
        if last := self.end():
            yield last

    def frame(self, name: str, data: Mapping[str, Any]) -> ServerSentEvent:
        """One event."""
        return ServerSentEvent(event=name, data=orjson.dumps(data).decode(), sep="\n")

    def failure(self, error: RaglineError) -> ServerSentEvent:
        """The event that ends a stream which failed; its headers are sent, so it says itself when to come back."""
        problem = error.problem(context.request_id())
        if error.retry_after_s is not None:
            problem["retry_after_s"] = error.retry_after_s
        return ServerSentEvent(event="error", data=encoded(problem).decode(), sep="\n")

    def end(self) -> ServerSentEvent | None:
        """What follows the last event of a stream that did not fail."""
        return None


async def following(events: AsyncIterator[Event]) -> Event | None:
    """The next event, waited for until the request's deadline; None when there is none."""
    end = context.deadline()
    left_s = None if end is None else end - time.monotonic()
    try:
        async with asyncio.timeout(left_s):
            return await anext(events, None)
    except TimeoutError:
        raise TimedOut("The deadline of this request passed; allow it more time.") from None


def heartbeat() -> ServerSentEvent:
    """A comment, which clients skip."""
    return ServerSentEvent(comment="heartbeat", sep="\n")
