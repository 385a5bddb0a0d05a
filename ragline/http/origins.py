"""Which pages of other origins may call from a browser."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from ragline.origins import ANY_ORIGIN, origins

EXPOSED = ("Retry-After", "X-Request-Id")
PREFLIGHT_S = 600


def allow(app: FastAPI, given: str) -> None:
    """Let pages of these origins call; the outermost layer, as failures must be readable there, too.

    No cookies are allowed: a key in a header is something that a page has to know.
    """
    app.state.origins = allowed = origins(given)
    if allowed:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=allowed,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_S,
        )


def may_connect(app: FastAPI, headers: Headers) -> bool:
    """Whether a WebSocket may be opened: browsers ask nobody before they open one to another origin.

    Programs send no origin; a page that came from here has ours.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    allowed: list[str] = getattr(app.state, "origins", [])
    return ANY_ORIGIN in allowed or origin in allowed or urlsplit(origin).netloc == headers.get("host")
