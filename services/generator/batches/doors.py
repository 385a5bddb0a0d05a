"""The REST doors that lines are sent to, so that a result is what the route itself would have answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import structlog

from ragline.errors import RaglineError, TimedOut, Unavailable
from services.generator.batches.lines import Answer, refused

CHECK_S = 10.0
CONNECT_S = 5.0
INSIDE = "http://inside"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Door:
    """The door of a service, in this process or at a URL."""

    service: str
    client: httpx.AsyncClient

    async def ask(self, route: str, body: Mapping[str, Any], request_id: str) -> Answer:
        """What the route says to a body; never raises for what fails on the way."""
        headers = {"content-type": "application/json", "x-request-id": request_id}
        try:
            response = await self.client.post(f"/{route}", content=orjson.dumps(body), headers=headers)
        except httpx.TimeoutException:
            told: RaglineError = TimedOut(f"The {self.service} service did not answer in time.")
        except httpx.TransportError as error:
            log.warning("a service does not answer", service=self.service, reason=str(error))
            told = Unavailable(f"The {self.service} service does not answer; is it running?")
        else:
            return Answer(response.status_code, response.content)
        return refused(told, request_id)

    async def up(self) -> bool:
        """Whether the service says that it can serve."""
        try:
            return (await self.client.get("/readyz", timeout=CHECK_S)).is_success
        except httpx.TransportError:
            return False


def inside(service: str, app: Any) -> Door:
    """The door of an application in this process: the same bytes without the way through a socket."""
    return Door(service, httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=INSIDE))


def outside(service: str, url: str, timeout_s: float) -> Door:
    """The door of a service at a URL.

    Each request has a connection of its own, for which the name is looked up: so replicas may come and go.
    """
    limits = httpx.Limits(max_keepalive_connections=0)
    timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
    return Door(service, httpx.AsyncClient(base_url=url, timeout=timeout, limits=limits, trust_env=False))


@dataclass(frozen=True)
class Doors:
    """The door of each route that a line may name."""

    generate: Door
    retrieve: Door
    embed: Door

    def of(self, route: str) -> Door:
        """The door of a route."""
        door: Door = getattr(self, route)
        return door

    async def close(self) -> None:
        """Let go of the connections."""
        for door in (self.generate, self.retrieve, self.embed):
            await door.client.aclose()
