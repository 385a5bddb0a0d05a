"""A proxy between a client and a server of the OpenAI dialect that does what networks and servers do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from tests.suite import free_ports

HOST = "127.0.0.1"
EVENT = b"data: "
END = b"\r\n\r\n"
Kind = Literal[
    "none",
    "delay",
    "refused",
    "dropped",
    "cut",
    "unfinished",
    "stalled",
    "hang",
    "busy",
    "broken",
    "denied",
    "page",
    "garbage",
]


@dataclass(frozen=True)
class Fault:
    """``events`` of a stream pass before it is cut, unfinished or stalled; ``retry_after`` is a header's value."""

    kind: Kind = "none"
    events: int = 0
    seconds: float = 0.0
    retry_after: str = ""


NONE = Fault()


class FaultProxy:
    """Passes requests on to ``upstream`` (a URL that ends in /v1) and makes ``fault`` of the answers.

    ``faults`` are for the next requests, one each, before ``fault``. ``asked`` counts requests, ``heads`` are what
    they said; ``hanging`` and ``left`` are set when one hangs and when its client left. An async context manager.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname or HOST, parts.port or 80)
        self.port = free_ports(1)[0]
        self.url = f"http://{HOST}:{self.port}{parts.path}"
        self.fault = NONE
        self.faults: list[Fault] = []
        self.heads: list[str] = []
        self.hanging = asyncio.Event()
        self.left = asyncio.Event()
        self.closing = asyncio.Event()
        self.server: asyncio.Server | None = None
        self.serving: set[asyncio.Task[None]] = set()

    @property
    def asked(self) -> int:
        """How many requests came."""
        return len(self.heads)

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self.serve, HOST, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Listen no more, and let go of those that hang."""
        self.closing.set()
        if self.server:
            self.server.close()
            await self.server.wait_closed()
            self.server = None
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        try:
            head = await reader.readuntil(END)
            body = await reader.readexactly(length(head))
            self.heads.append(head.decode("latin-1"))
            fault = self.faults.pop(0) if self.faults else self.fault
            await self.answer(fault, head, body, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the proxy is closed; asyncio would report the task as a fault of its own
        finally:
            writer.close()

    async def answer(
        self, fault: Fault, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """What the fault makes of a request."""
        match fault.kind:
            case "refused" | "dropped":
                writer.transport.abort()
            case "hang":
                await self.hang(reader)
            case "busy":
                headers = {"retry-after": fault.retry_after} if fault.retry_after else {}
                writer.write(response(429, b'{"error": {"message": "slow down"}}', headers))
            case "broken":
                writer.write(response(500, b'{"error": {"message": "oops"}}'))
            case "denied":
                writer.write(response(401, b'{"error": {"message": "who are you?"}}'))
            case "page":
                writer.write(response(200, b"<html>Welcome to the Wi-Fi of this hotel</html>", kind="text/html"))
            case "garbage":
                text = b'data: {"choices": [{"delta": {"con\n\ndata: 7\n\n'
                writer.write(response(200, text, kind="text/event-stream"))
            case _:
                await asyncio.sleep(fault.seconds)
                await self.relay(fault, head, body, reader, writer)

    async def relay(
        self, fault: Fault, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass the request on and its answer back, until the fault strikes or either side leaves."""
        above, below = await asyncio.open_connection(*self.upstream)
        gone = asyncio.create_task(reader.read())
        try:
            below.write(alone(head) + body)
            events = 0
            while chunk := await either(above, gone):
                if fault.kind != "delay":
                    events += chunk.count(EVENT)
                if fault.kind in {"cut", "unfinished", "stalled"} and events > fault.events:
                    await self.strike(fault, reader, writer, gone)
                    return
                writer.write(chunk)
                await writer.drain()
        finally:
            gone.cancel()
            below.close()

    async def strike(
        self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Task[bytes]
    ) -> None:
        """In the middle of a stream."""
        if fault.kind == "cut":
            writer.transport.abort()
        elif fault.kind == "unfinished":
            writer.write(b"0\r\n\r\n")  # an orderly end of the answer, which says that there is no more
            await writer.drain()
        else:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await self.hang(reader)

    async def hang(self, reader: asyncio.StreamReader) -> None:
        """Say nothing until the client leaves."""
        self.hanging.set()
        waits = [asyncio.create_task(reader.read()), asyncio.create_task(self.closing.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if waits[0].done():
            self.left.set()
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def either(above: asyncio.StreamReader, gone: asyncio.Task[bytes]) -> bytes:
    """What comes from above; nothing once the client has gone."""
    come = asyncio.create_task(above.read(65_536))
    await asyncio.wait([come, gone], return_when=asyncio.FIRST_COMPLETED)
    if come.done():
        return come.result()
    come.cancel()
    await asyncio.gather(come, return_exceptions=True)
    return b""


def length(head: bytes) -> int:
    """The length of a request's body."""
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def alone(head: bytes) -> bytes:
    """A request's head as that of the only request of its connection."""
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"connection: close"]) + END


def response(
    status: int, body: bytes, headers: Mapping[str, str] | None = None, kind: str = "application/json"
) -> bytes:
    """A whole answer, the last of its connection."""
    lines = [
        f"HTTP/1.1 {status} Fault",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + END + body
