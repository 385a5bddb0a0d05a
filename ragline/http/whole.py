"""Answers that leave in one piece: headers and body are one write, where uvicorn makes two.

Killed between the two, a process would leave a client with the head of an answer whose body never comes, and a
proxy that has passed on the head can no longer ask another replica.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HELD = 65_536  # bytes; more is sent at once, so that a slow reader still slows its writer down


class Whole(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol over a transport that joins what one turn of the loop writes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        super().connection_made(Joining(transport, self.loop))  # type: ignore[arg-type]


class Joining:
    """``transport``, whose writes leave together when the loop's turn ends; all else is the transport's own."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.loop = loop
        self.parts: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> None:
        """Send ``data`` after what was written before."""
        if not self.parts:
            self.loop.call_soon(self.flush)
        self.parts.append(data)
        self.size += len(data)
        if self.size > HELD:
            self.flush()

    def flush(self) -> None:
        """Send what was written so far."""
        if self.parts:
            parts, self.parts, self.size = self.parts, [], 0
            self.transport.writelines(parts)

    def close(self) -> None:
        """Send the rest, then close."""
        self.flush()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)
