"""``/healthz``, ``/readyz`` and ``/metrics``: whether the process lives and can serve, and what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from ragline import metrics
from ragline.errors import RaglineError, Unavailable
from ragline.http.problems import problem

CHECK_TIMEOUT_S = 5.0
READY = "ok"

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[None]]


def probes(checks: Mapping[str, Check]) -> APIRouter:
    """The routes that orchestrators and people ask first."""
    router = APIRouter(tags=["process"])

    @router.get("/healthz")
    async def live() -> dict[str, str]:
        """Whether the process lives: answers as long as its event loop turns."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready() -> Response:
        """Whether it can serve: models loaded, stores open, services that it needs there."""
        states = await run_all(checks)
        waiting = sorted(name for name, state in states.items() if state != READY)
        if waiting:
            return problem(Unavailable(f"Not ready: {', '.join(waiting)}."), states)
        return JSONResponse({"status": "ready", "checks": states})

    @router.get("/metrics", include_in_schema=False)
    async def counted(request: Request) -> Response:
        """What this process counts, as Prometheus reads it."""
        content, media_type = await metrics.page(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": media_type})

    return router


async def run_all(checks: Mapping[str, Check]) -> dict[str, str]:
    """The state of each check, ``ok`` or one sentence; all run at once, none for longer than five seconds."""
    states = await asyncio.gather(*(run(name, check) for name, check in checks.items()))
    return dict(zip(checks, states, strict=True))


async def run(name: str, check: Check) -> str:
    """The state of one check."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    except RaglineError as error:
        return error.detail
    except Exception:  # a boundary: a check that crashes means not ready, and the others still count
        log.exception("check crashed", check=name)
        return "failed; the log says why"
    return READY
