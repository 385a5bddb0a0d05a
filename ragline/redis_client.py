"""Connects to Redis, alone, under Sentinel or as a Cluster, behind a breaker: one that is away costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterError,
    NoPermissionError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ragline.addresses import joined
from ragline.breaker import Breaker
from ragline.errors import Unavailable
from ragline.settings import SettingsError
from ragline.urls import Location, parse, shown

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
PORT, SENTINEL_PORT = 6379, 26379
PREFIX = "ragline:"
TIMEOUT_S = 0.5
MAX_CONNECTIONS = 64
HEALTH_CHECK_S = 30  # a connection that was idle for longer is tried before it is used
CLIENT_NAME = "ragline"

# What means that Redis cannot be used now, rather than that one command was wrong. A refused login is among them
# (it is a ConnectionError): passwords change while services run.
AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    RedisClusterException,
    ClusterError,
    ReadOnlyError,
    TryAgainError,
    NoPermissionError,
    OSError,  # the built-in TimeoutError, too
)

Client = Redis | RedisCluster


@dataclass(frozen=True)
class Options:
    """What the query of a Redis URL may say, in any use of it."""

    timeout_s: PositiveFloat = TIMEOUT_S
    max_connections: PositiveInt = MAX_CONNECTIONS
    prefix: str = PREFIX
    sentinel_password: str | None = None
    ca_certs: str | None = None


@dataclass(frozen=True)
class Address:
    """Where a URL says that Redis is, and how to talk to it; see ``connect``."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    group: str
    db: int
    username: str | None
    password: str | None
    options: Options

    @property
    def name(self) -> str:
        """The server as logs and metrics call it: no password."""
        hosts = ",".join(joined(host, port) for host, port in self.hosts)
        return "/".join([f"{self.scheme}://{hosts}", *filter(None, [self.group]), str(self.db)])


class Server:
    """A Redis behind its breaker: all that uses it goes through ``guard``. Belongs to one event loop."""

    def __init__(self, client: Client, address: Address, breaker: Breaker) -> None:
        self.client = client
        self.address = address
        self.breaker = breaker
        self.prefix = address.options.prefix
        self.timeout_s = address.options.timeout_s
        # redis-py 8 closes the connections of a cluster's nodes under those who use them when it looks for the
        # nodes again; that shows as an AttributeError.
        self.lost = (*AWAY, AttributeError) if self.clustered else AWAY
        self.finding: asyncio.Task[Any] | None = None
        self.slots = asyncio.Semaphore(address.options.max_connections)
        self.closed = False

    @property
    def clustered(self) -> bool:
        """Whether keys lie on several nodes: then a command may name keys of one slot only."""
        return self.address.scheme.endswith("+cluster")

    @asynccontextmanager
    async def guard(self, timeout_s: float | None = None) -> AsyncIterator[Any]:
        """The client, for the commands inside, which together may take ``timeout_s``.

        Raises Unavailable where Redis is away: at once while the breaker is open, else within one timeout.
        Other errors of Redis (a wrong type, no memory left) pass through as they are.
        """
        if self.closed:
            raise Unavailable(f"{self.address.name} is not asked any more: this process ends.")
        async with self.slots:
            if not self.breaker.admit():
                raise Unavailable(f"{self.address.name} does not answer.")
            try:
                async with asyncio.timeout(timeout_s or self.timeout_s):
                    if self.clustered:
                        await self.find_nodes()
                    yield self.client
            except self.lost as error:
                self.breaker.failed(error)
                raise Unavailable(f"{self.address.name} does not answer.") from error
            except RedisError:
                self.breaker.passed()
                raise
            except BaseException:
                self.breaker.left()
                raise
            self.breaker.passed()

    async def find_nodes(self) -> None:
        """Let a cluster's client learn who has which slots, where it does not know.

        That takes a while: it goes on where the caller's time is over, so that a slow start comes to an end.
        """
        if self.finding is None or self.finding.done():
            self.finding = asyncio.create_task(self.client.initialize())
            self.finding.add_done_callback(lambda task: task.cancelled() or task.exception())  # seen, if unwaited
        await asyncio.shield(self.finding)

    async def close(self) -> None:
        """Let go of the connections, once the commands under way are done, for which they have their time.

        A client of redis-py that is closed under a command connects anew, for nobody to close.
        """
        if self.closed:
            return
        self.closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self.timeout_s):
                for _ in range(self.address.options.max_connections):
                    await self.slots.acquire()
        if self.finding is not None:
            await asyncio.wait((self.finding,), timeout=self.timeout_s)
            self.finding.cancel()
        # The client of a primary leaves open those of the sentinels that it asked.
        manager = getattr(getattr(self.client, "connection_pool", None), "sentinel_manager", None)
        for each in (self.client, *(manager.sentinels if manager else ())):
            await each.aclose()


def open(url: str | Location, own: Collection[str] = ()) -> Server:  # noqa: A001 - read as redis_client.open
    """The Redis of a URL behind a breaker; ``own`` are options that the caller reads from the URL itself.

    Raises SettingsError for a bad URL or option; whether anybody answers shows at the first use.
    """
    address = address_of(url, own)
    return Server(connect(address), address, Breaker(address.name))


def connect(url: str | Location | Address) -> Client:
    """A client for a URL; it connects when it is first used.

    ``redis://[user:password@]host[:6379][/db]``, ``rediss://`` with TLS,
    ``redis+sentinel://host1:26379,host2/group[/db]``, ``redis+cluster://host1,host2``, and the last two with
    ``rediss``. Options: ``timeout_s`` (of connecting, of each command), ``max_connections``, ``prefix`` (of all
    keys), ``sentinel_password``, ``ca_certs`` (a file). Raises SettingsError for what is none of these.
    """
    address = url if isinstance(url, Address) else address_of(url)
    options = address.options
    common: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_timeout": options.timeout_s,
        "socket_connect_timeout": options.timeout_s,
        "health_check_interval": HEALTH_CHECK_S,
        "client_name": CLIENT_NAME,
        # Once more, on a new connection: the one at hand may be of a server that was since restarted.
        "retry": Retry(NoBackoff(), 1),
    }
    if address.scheme.startswith("rediss"):
        common |= {"ssl": True, "ssl_ca_certs": options.ca_certs}
    if address.scheme.endswith("+cluster"):
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        most = options.max_connections
        return RedisCluster(startup_nodes=nodes, require_full_coverage=False, max_connections=most, **common)
    if address.scheme.endswith("+sentinel"):
        kept = ("client_name", "retry", "ssl", "ssl_ca_certs")
        asked: dict[str, Any] = {name: common[name] for name in kept if name in common}
        asked["password"] = options.sentinel_password
        # One sentinel that hangs must leave time to ask another.
        asked["socket_timeout"] = asked["socket_connect_timeout"] = options.timeout_s / 3
        sentinels = Sentinel(address.hosts, sentinel_kwargs=asked, **common)  # type: ignore[no-untyped-call]  # redis-py
        primary: Redis = sentinels.master_for(address.group, db=address.db)
        return primary
    [(host, port)] = address.hosts
    return Redis(host=host, port=port, db=address.db, **common)


def address_of(url: str | Location, own: Collection[str] = ()) -> Address:
    """A URL taken apart; raises SettingsError where it is no good."""
    location = parse(url, SCHEMES) if isinstance(url, str) else url
    parts = urlsplit(location.url)
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    scheme, path = location.scheme, [unquote(part) for part in parts.path.split("/") if part]
    default = SENTINEL_PORT if scheme.endswith("+sentinel") else PORT
    places = tuple(host_and_port(location, host, default) for host in hosts.split(","))
    if len(places) > 1 and "+" not in scheme:
        raise SettingsError(f"{shown(location.url)!r} names several hosts; write redis+sentinel or redis+cluster.")
    group = ""
    if scheme.endswith("+sentinel"):
        if not path:
            raise SettingsError(f"{shown(location.url)!r} names no group; write {scheme}://host:26379/mymaster/0.")
        group = path.pop(0)
    if len(path) > 1 or not all(part.isdecimal() for part in path) or (path and scheme.endswith("+cluster")):
        wanted = "nothing" if scheme.endswith("+cluster") else "the number of a database"
        raise SettingsError(f"{shown(location.url)!r} has the path {parts.path!r}; {wanted} belongs there.")
    return Address(
        scheme=scheme,
        hosts=places,
        group=group,
        db=int(path[0]) if path else 0,
        username=unquote(username) or None,
        password=unquote(password) or None,
        options=options_of(location, own),
    )


def host_and_port(location: Location, text: str, default: int) -> tuple[str, int]:
    """``host``, ``host:port`` or ``[::1]:port``; raises SettingsError."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise SettingsError(f"{shown(location.url)!r} names no host; write {location.scheme}://host:port.")
    return host, port or default


def options_of(location: Location, own: Collection[str]) -> Options:
    """The options of a URL, as the types they are; raises SettingsError."""
    known = [field.name for field in fields(Options)]
    given = {name: value for name, value in location.options.items() if name not in own}
    for name in given:
        if name not in known:
            raise SettingsError(f"{location.scheme} has no option {name!r}; it has {', '.join([*known, *own])}.")
    try:
        return TypeAdapter(Options).validate_python(given)
    except ValidationError as error:
        fault = error.errors()[0]
        raise SettingsError(
            f"option {fault['loc'][-1]!r} of {location.scheme} is no good: {fault['msg']}"
        ) from None
