"""WebSockets behind uvicorn that may end in order when the process does."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE = 1024 * 1024  # bytes of a message, above what any route takes
PING_S = 20.0  # shorter than any proxy's patience
TOO_BIG = 1009
RESTARTING = 1012


class Draining(WebSocketsSansIOProtocol):
    """Tells the application that the process stops, and leaves it to close the connection.

    uvicorn's own closes at once, in the middle of what is being said. Here the application reads a disconnect with
    the code of a restart, may still send, and closes with that code; what it has not closed when the time to drain
    has passed is cancelled like any request.
    """

    def shutdown(self) -> None:
        """Begin to end."""
        if self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": RESTARTING})
        else:
            super().shutdown()
