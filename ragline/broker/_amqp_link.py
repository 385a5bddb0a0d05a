"""One connection to RabbitMQ: opened when it is needed, and again when it was lost; never waited for long."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, AuthenticationError, ProbableAuthenticationError
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ConnectionNotAllowed
from yarl import URL

from ragline.errors import Unavailable

REST_S = 1.0  # after a connection that failed, nobody tries another for so long
RETRY_AFTER_S = 2.0
REFUSALS = (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed)
AWAY = "The message broker does not answer; try again later."
REFUSED = "The message broker refuses the login or the virtual host; the operator must look at the broker URL."

log = structlog.get_logger(__name__)


class Link:
    """A connection that is kept while it works. Belongs to one event loop.

    ``answer_s`` bounds every wait for the server, opening included.
    """

    def __init__(self, url: URL, name: str, answer_s: float, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self.answer_s = answer_s
        self._name = name
        self._tls = tls
        self._lock = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._failure: Unavailable | None = None
        self._failed_at = 0.0
        self._ending: set[asyncio.Task[None]] = set()

    async def channel(self) -> AbstractChannel:
        """A new channel with publisher confirms; raises Unavailable."""
        with away():
            connection = await self._connected()
            try:
                async with asyncio.timeout(self.answer_s):
                    opened = connection.channel(on_return_raises=True)
                    await opened.initialize()
                    return await opened.get_underlay_channel()
            except TimeoutError:
                self.drop(connection)
                raise

    @asynccontextmanager
    async def visit(self, *expected: type[Exception]) -> AsyncIterator[AbstractChannel]:
        """A channel for a few quick calls; raises Unavailable, and what is expected as it is."""
        channel = await self.channel()
        connection = self._connection
        try:
            with away(*expected):
                async with asyncio.timeout(self.answer_s):
                    yield channel
        except Unavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                self.drop(connection)
            raise
        finally:
            await leave(channel, self.answer_s)

    def drop(self, connection: AbstractConnection | None = None) -> None:
        """Give up the connection, or just this one if it is still the one in use."""
        if self._connection is not None and connection in {None, self._connection}:
            ending = asyncio.create_task(end(self._connection, self.answer_s))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._connection = None

    async def close(self) -> None:
        """Close the connection."""
        self.drop()
        if self._ending:
            await asyncio.wait(self._ending)

    @property
    def connection(self) -> AbstractConnection | None:
        """The connection in use: what was declared over another may be gone."""
        return self._connection

    async def _connected(self) -> AbstractConnection:
        async with self._lock:
            if self._connection is not None:
                if alive(self._connection):
                    return self._connection
                self.drop()
            if self._failure is not None and time.monotonic() - self._failed_at < REST_S:
                raise self._failure
            try:
                with away():
                    self._connection = await aio_pika.connect(
                        self.url,
                        timeout=self.answer_s,
                        ssl_context=self._tls,
                        client_properties={"connection_name": self._name},
                    )
            except Unavailable as error:
                self._failure, self._failed_at = error, time.monotonic()
                log.warning("no connection to the broker", host=self.url.host, error=str(error.__cause__))
                raise
            self._failure = None
            return self._connection


@contextmanager
def away(*expected: type[Exception]) -> Iterator[None]:
    """Make Unavailable of whatever a lost, closed or silent connection raises; what is expected stays as it is.

    That may be a CancelledError that nobody asked for: the library cancels what waits on a connection that ends.
    """
    try:
        yield
    except expected:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unavailable(AWAY, retry_after_s=RETRY_AFTER_S) from error
    except REFUSALS as error:
        raise Unavailable(REFUSED, retry_after_s=RETRY_AFTER_S) from error
    except CONNECTION_EXCEPTIONS as error:
        raise Unavailable(AWAY, retry_after_s=RETRY_AFTER_S) from error


def alive(connection: AbstractConnection) -> bool:
    """Whether its reader and its writer still run."""
    return connection.transport is not None and bool(connection.transport.connection.is_opened)


async def leave(channel: AbstractChannel, limit_s: float) -> None:
    """Close a channel, whatever state it is in: what it has in hand goes back to its queue, in order."""
    try:
        with away():
            async with asyncio.timeout(limit_s):
                await channel.close()
    except Unavailable as error:
        log.debug("channel ended badly", error=str(error.__cause__))


async def end(connection: AbstractConnection, limit_s: float) -> None:
    """Close a connection; a server that does not answer is not waited for longer than ``limit_s``."""
    try:
        with away():
            async with asyncio.timeout(limit_s):
                await connection.close()
    except Unavailable as error:
        log.debug("connection ended badly", error=str(error.__cause__))
