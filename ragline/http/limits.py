"""Refuses a tenant's requests beyond so many a minute."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from ragline.errors import Overloaded
from ragline.http.middleware import PROBES
from ragline.http.page import FOLDER
from ragline.metrics import counter
from ragline.rates import Rates

TENANT = "default"  # whoever asks, as long as nobody says who that is
ADMIT = "ragline.admit"
FREE = (*PROBES, "/", "/docs", "/openapi.json")
FREE_FOLDER = f"{FOLDER}/"  # the page's own files


class PerMinute:
    """Counts each request before anything else is done for it. Probes and descriptions are free."""

    def __init__(self, app: ASGIApp, rates: Rates, limit: int) -> None:
        self.app = app
        self.rates = rates
        self.limit = limit
        self.refused = counter("ragline_http_requests_refused", "Refused for being too many.", ("tenant",))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or raise Overloaded with the time to come back."""
        if scope["type"] == "websocket":
            scope[ADMIT] = self.admit
        elif scope["type"] == "http" and not free(scope["path"]):
            await self.admit()
        await self.app(scope, receive, send)

    async def admit(self) -> None:
        """Count a request; raises Overloaded where there are too many."""
        wait_s = await self.rates.take(f"requests:{TENANT}", limit=self.limit, per_s=60)
        if wait_s:
            self.refused.labels(TENANT).inc()
            raise Overloaded(
                f"There were {self.limit} requests within a minute, as many as "
                "RAGLINE_MAX_REQUESTS_PER_MINUTE allows; come back later.",
                retry_after_s=wait_s,
            )


async def admit(scope: Scope) -> None:
    """Count what a WebSocket asks for as a request; raises Overloaded where there are too many."""
    if ADMIT in scope:
        await scope[ADMIT]()


def free(path: str) -> bool:
    """Whether asking for it costs next to nothing."""
    return path in FREE or path.startswith(FREE_FOLDER)
