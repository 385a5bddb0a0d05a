"""Does equal streams once: who asks for what is being written reads along from its beginning."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from ragline import context
from ragline.errors import Cancelled

E = TypeVar("E")

_stream: ContextVar[Stream[Any] | None] = ContextVar("ragline_shared_stream", default=None)


def deadline() -> float | None:
    """When the last of those who wait for the work in hand wants it, on ``time.monotonic``'s clock; None: never.

    Within a stream that is its readers' latest deadline, which moves as they come and go.
    """
    stream = _stream.get()
    if stream is None:
        return context.deadline()
    latest = max(stream.readers, default=math.inf)
    return None if latest == math.inf else latest


class Stream(Generic[E]):
    """What has been written so far, and by which task."""

    def __init__(self, begins: Callable[[E], bool]) -> None:
        self.events: list[E] = []
        self.begins = begins
        self.begin = 0
        self.readers: list[float] = []  # the deadline of each
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None]

    async def write(self, source: AsyncGenerator[E, None], request_id: str, caller: context.Caller) -> None:
        """Take over all events; the source is closed however it ends."""
        _stream.set(self)
        with context.bind(request_id, caller=caller):
            try:
                async for event in source:
                    self.events.append(event)
                    if self.begins(event):
                        self.begin = len(self.events)
                    self.wake()
            finally:
                await source.aclose()

    def wake(self) -> None:
        """Let the readers look again."""
        self.changed.set()
        self.changed = asyncio.Event()


class SharedStreams(Generic[E]):
    """One stream a key at a time. Belongs to one event loop.

    A stream is nobody's: it outlives the reader that started it and is cancelled when the last one leaves.
    It has no deadline of its own but that of what it calls, since readers' deadlines differ (see ``deadline``);
    each reader minds its own. Its exception reaches every reader. ``begins`` tells an event after which all
    begins anew: who joins later reads only from there.
    """

    def __init__(self, begins: Callable[[E], bool] = lambda _: False) -> None:
        self.streams: dict[str, Stream[E]] = {}
        self.begins = begins

    async def join(
        self, key: str, make: Callable[[], AsyncGenerator[E, None]], caller: context.Caller | None = None
    ) -> AsyncGenerator[E, None]:
        """All events of the stream of ``key``, which ``make`` starts, for ``caller``, if it is not under way."""
        stream = self.streams.get(key) or self.start(key, make(), caller or context.caller())
        end = context.deadline() or math.inf
        stream.readers.append(end)
        try:
            at = stream.begin
            while True:
                changed = stream.changed
                while at < len(stream.events):
                    at += 1
                    yield stream.events[at - 1]
                if stream.task.done():
                    break
                if changed is stream.changed:
                    await changed.wait()
            if stream.task.cancelled():
                raise Cancelled("The work was cancelled before it was done; ask again.")
            stream.task.result()
        finally:
            stream.readers.remove(end)
            if not stream.readers and not stream.task.done():
                self.end(key, stream)
                stream.task.cancel()

    def start(self, key: str, source: AsyncGenerator[E, None], caller: context.Caller) -> Stream[E]:
        """Begin to write, outside of the context of the request that asked first."""
        stream: Stream[E] = Stream(self.begins)
        work = stream.write(source, context.request_id(), caller)
        stream.task = asyncio.create_task(work, context=contextvars.Context())
        stream.task.add_done_callback(lambda _: self.end(key, stream))
        self.streams[key] = stream
        return stream

    def end(self, key: str, stream: Stream[E]) -> None:
        """Let no one else join, and wake those who wait."""
        if self.streams.get(key) is stream:
            del self.streams[key]
        if stream.task.done() and not stream.task.cancelled():
            stream.task.exception()  # looked at, so that it is not reported where all readers have left
        stream.wake()
