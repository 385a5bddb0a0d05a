"""The FastAPI application that every service serves its routes with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline

import ragline
from ragline.http import openai, problems
from ragline.http.body import MB, Body, Limit
from ragline.http.limits import PerMinute
from ragline.http.middleware import Access, Presence
from ragline.http.page import Page, entrance
from ragline.http.ready import Check, probes
from ragline.rates import Rates

BODY_SETTING = "RAGLINE_MAX_BODY_MB"
BODY_LIMIT = "x-body-limit"

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    title: str,
    routers: Sequence[APIRouter],
    *,
    checks: Mapping[str, Check],
    lifespan: Lifespan | None = None,
    max_body_mb: int = 64,
    per_minute: tuple[Rates, int] | None = None,
    page: Page | None = None,
) -> FastAPI:
    """``routers`` bare and under ``/v1``, with problem documents, request ids, deadlines, bounds and probes.

    ``checks`` decide ``/readyz``: each raises a ``RaglineError`` while its part is not ready.
    A body over ``max_body_mb`` is refused. A route whose
    ``openapi_extra`` has ``x-body-limit`` (``{"mb": 256, "setting": NAME}``) reads bodies of the kinds that it
    describes as they come, up to that limit. ``per_minute`` counts requests and says how many are served.
    ``page`` is what browsers get at ``/``.
    """
    # its pages come from this process: /docs works on a machine without network
    app = FastAPIOffline(title=title, version=ragline.__version__, lifespan=lifespan)
    problems.install(app)
    for router in routers:
        app.include_router(router)
    for router in routers:
        app.include_router(router, prefix="/v1", include_in_schema=False)
    app.include_router(probes(checks))
    index = {"name": title, "version": ragline.__version__, "docs": "/docs", "openapi": "/openapi.json"}
    app.include_router(entrance(index, page))
    if page is not None:
        app.include_router(page.router())
    # The last one added is the outermost.
    app.add_middleware(Body, max_bytes=max_body_mb * MB, setting=BODY_SETTING, uploads=cache(lambda: uploads(app)))
    app.add_middleware(Presence)
    if per_minute is not None:
        app.add_middleware(PerMinute, rates=per_minute[0], limit=per_minute[1])
    app.add_middleware(Access)
    describe(app)
    return app


def uploads(app: FastAPI) -> dict[str, Limit]:
    """The limits of the routes that have one of their own, by path, as the OpenAPI document tells them."""
    limits = {}
    for path, operations in app.openapi()["paths"].items():
        for operation in operations.values():
            if own := operation.get(BODY_LIMIT):
                kinds = tuple(operation["requestBody"]["content"])
                limits[path] = limits[f"/v1{path}"] = Limit(own["mb"] * MB, own["setting"], kinds)
    return limits


def describe(app: FastAPI) -> None:
    """Make the OpenAPI document say once what every error looks like."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            app.openapi_schema = with_problems(schema)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with one shared problem response in place of the framework's own error shape."""
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs", {}), "Problem": problem}
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    components["responses"] = {"Problem": {"description": "What went wrong (RFC 9457)", "content": content}}
    openai.describe(components)
    for path in schema.get("paths", {}).values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            failed = "Fault" if openai.ERRORS in operation else "Problem"
            for status in ("default", *(known for known in operation["responses"] if known >= "400")):
                operation["responses"][status] = {"$ref": f"#/components/responses/{failed}"}
    return schema
