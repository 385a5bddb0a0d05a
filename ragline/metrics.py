"""What the process counts, in one registry whatever runs in it, and the page that Prometheus reads it from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
REFRESH_S = 1.0  # longest that asking for a value may hold up the page
UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

REGISTRY = CollectorRegistry()
Refresh = Callable[[], Awaitable[None]]

log = structlog.get_logger(__name__)

_known: dict[str, Any] = {}
_refreshes: list[Refresh] = []


def counter(name: str, about: str, labels: Sequence[str] = ()) -> Counter:
    """The counter of that name, made at its first use."""
    found: Counter = made(Counter, name, about, labels)
    return found


def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
    """The gauge of that name, made at its first use; ``set_function`` lets it be read when the page is."""
    found: Gauge = made(Gauge, name, about, labels)
    return found


def histogram(
    name: str, about: str, labels: Sequence[str] = (), buckets: Sequence[float] = BUCKETS_S
) -> Histogram:
    """The histogram of that name, made at its first use."""
    found: Histogram = made(Histogram, name, about, labels, buckets=tuple(buckets))
    return found


def made(kind: type[Any], name: str, about: str, labels: Sequence[str], **more: Any) -> Any:
    """The one metric of that name in this process."""
    if name not in _known:
        _known[name] = kind(name, about, tuple(labels), registry=REGISTRY, **more)
    return _known[name]


def on_read(refresh: Refresh) -> Callable[[], None]:
    """Await ``refresh`` each time before the page is made, for values that must be asked for; returns its end."""
    _refreshes.append(refresh)
    return lambda: _refreshes.remove(refresh)


def watch_queue(queue: str, depth: Callable[[str], Awaitable[int]]) -> Callable[[], None]:
    """Show how many messages ``depth`` says wait in ``queue``, each time the page is made; returns its end."""
    about = "Messages waiting, those for a retry included, and in hand of this process."
    waiting = gauge("ragline_queue_depth", about, ("queue",)).labels(queue)

    async def refresh() -> None:
        waiting.set(await depth(queue))

    return on_read(refresh)


async def page(accept: str = "") -> tuple[bytes, str]:
    """Everything counted, and its media type; a value that cannot be asked for in time stays as it was."""
    made(ProcessMetrics, "process", "", ())
    asked = [in_time(refresh) for refresh in _refreshes]
    for failed in filter(None, await asyncio.gather(*asked, return_exceptions=True)):
        log.debug("metric not refreshed", error=repr(failed))
    encode, media_type = choose_encoder(accept)
    return encode(REGISTRY), media_type


async def in_time(refresh: Refresh) -> None:
    """Bring a value up to date."""
    async with asyncio.timeout(REFRESH_S):
        await refresh()


class ProcessMetrics(ProcessCollector):
    """Memory, processor time and open files of this process."""

    def __init__(self, name: str, about: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        super().__init__(registry=registry)


class HttpMetrics:
    """Counts requests by route, never by path: as many series as routes. ``/v1/x`` counts as ``/x``."""

    def __init__(self) -> None:
        labels = ("method", "route", "status")
        self.requests = counter("ragline_http_requests", "REST requests answered.", labels)
        self.seconds = histogram(
            "ragline_http_request_seconds", "From the request's head to the end of its answer.", labels
        )
        self.inflight = gauge("ragline_http_requests_inflight", "REST requests being answered.")
        # Looking a child up by its labels takes longer than counting.
        self.children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def begin(self) -> None:
        """A request came."""
        self.inflight.inc()

    def end(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """It was answered."""
        self.inflight.dec()
        # Some versions of FastAPI name the route without the prefix that its router was included with.
        route = getattr(scope.get("route"), "path", UNMATCHED).removeprefix("/v1")
        method = scope["method"] if scope["method"] in METHODS else "other"
        key = (method, route, status)
        children = self.children.get(key)
        if children is None:
            values = (method, route, str(status))
            children = self.children[key] = self.requests.labels(*values), self.seconds.labels(*values)
        children[0].inc()
        children[1].observe(seconds)
