"""Every failure as an RFC 9457 problem document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ragline import context
from ragline.errors import BY_HTTP, PROBLEM_TYPE, InvalidRequest, RaglineError, TimedOut, Unsupported

MEDIA_TYPE = "application/problem+json"
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
MAX_ERRORS = 20
MAX_FIELD_CHARS = 200
MAX_DETAIL_CHARS = 500
JSON_TYPES = ("model_attributes_type", "dict_type", "list_type")

log = structlog.get_logger(__name__)


class FieldError(BaseModel):
    """One thing that is wrong with the request."""

    field: str = Field(description="where, such as documents[3].text")
    detail: str = Field(description="what is wrong there")


class Problem(BaseModel):
    """What every error response holds (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": PROBLEM_TYPE,
                    "title": "Invalid request",
                    "status": 400,
                    "detail": "documents[3].text: Field required.",
                    "instance": "8d0a9b4e6f7c4d1f9a3b2c1d0e9f8a7b",
                    "errors": [{"field": "documents[3].text", "detail": "Field required"}],
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str = Field(description="one sentence: what is wrong and the way out")
    instance: str = Field("", description="the request id, as in the X-Request-Id header and in the log")
    errors: list[FieldError] = Field(default=[], description="the fields at fault, the first 20")
    checks: dict[str, str] = Field(default={}, description="of /readyz only: what is ready and what is not")


def problem(error: RaglineError, checks: Mapping[str, str] | None = None) -> Response:
    """The response for an error."""
    body = error.problem(context.request_id())
    if checks is not None:
        body["checks"] = dict(checks)
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return document(body, error.http_status, headers)


def document(body: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    """A problem document as a response; never fails for what a caller wrote into a string."""
    return Response(encoded(body), status, headers=dict(headers), media_type=MEDIA_TYPE)


def encoded(body: Mapping[str, Any]) -> bytes:
    """JSON of a problem document, with lone surrogates (which UTF-8 cannot hold) written as escapes."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        return json.dumps(body).encode()


def install(app: FastAPI) -> None:
    """Make every failure inside ``app`` a problem document."""
    app.add_exception_handler(RaglineError, from_error)
    app.add_exception_handler(RequestValidationError, from_validation)
    app.add_exception_handler(HTTPException, from_http)
    app.add_exception_handler(TimeoutError, from_timeout)


async def from_error(request: Request, error: Exception) -> Response:
    """A row of the table."""
    assert isinstance(error, RaglineError)  # noqa: S101 - registered for this class
    if error.http_status >= 500:
        log.warning("failed", path=request.url.path, status=error.http_status, detail=error.detail)
    return problem(error)


async def from_timeout(request: Request, error: Exception) -> Response:
    """A limit in time that a handler set itself."""
    return problem(TimedOut("The work was not done in time; send less at once or allow more time."))


async def from_http(request: Request, error: Exception) -> Response:
    """What the framework refuses: unknown paths, wrong methods, unreadable forms."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    status = error.status_code
    row = BY_HTTP.get(status)
    detail = str(error.detail)
    headers = dict(error.headers or {})
    if status == HTTPStatus.NOT_FOUND:
        detail = f"There is no {clipped(request.url.path)} here; GET /docs lists what there is."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(methods(request)) or headers.get("Allow", "")
        detail = f"{clipped(request.url.path)} does not take {request.method}; it takes {headers['Allow']}."
    body = {
        "type": PROBLEM_TYPE,
        "title": row.title if row else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": context.request_id(),
    }
    return document(body, status, headers)


def methods(request: Request) -> list[str]:
    """The methods of all routes at the request's path; the framework itself names those of one route only."""

    def taken(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in METHODS if taken(method)]


async def from_validation(request: Request, error: Exception) -> Response:
    """A body or parameter of the wrong shape: 400 with the fields at fault, never with what they held."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    media_type = request.headers.get("content-type", "")
    faults = error.errors()
    if isinstance(error.body, bytes) and faults[0]["type"] in JSON_TYPES:
        return problem(Unsupported(f"This path reads application/json, not {clipped(media_type) or 'no type'}."))
    errors = field_errors(faults, error.body)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    detail = f"{errors[0]['field']}: {errors[0]['detail'].rstrip('.')}{more}."
    return problem(InvalidRequest(detail, errors=tuple(errors)))


def field_errors(faults: Sequence[Any], body: Any) -> list[dict[str, str]]:
    """The first faults by field; what several members of a union say of one field is joined."""
    by_field: dict[str, list[str]] = {}
    for fault in faults:
        message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        said = by_field.setdefault(field_name(fault["loc"], body, fault["type"]), [])
        if message not in said:
            said.append(message)
        if len(by_field) > MAX_ERRORS:
            break
    named = list(by_field.items())[:MAX_ERRORS]
    return [{"field": field, "detail": clipped(", or: ".join(said), MAX_DETAIL_CHARS)} for field, said in named]


def field_name(loc: Sequence[int | str], body: Any, kind: str) -> str:
    """``("body", "documents", 3, "text")`` as ``documents[3].text``.

    pydantic also puts the names of union members into ``loc``; walking the body tells them from fields.
    """
    place, *parts = loc or ("body",)
    name = ""
    at = body
    for index, part in enumerate(parts):
        if place == "body" and not is_field(part, at, missing=kind == "missing" and index == len(parts) - 1):
            continue
        if isinstance(part, int):
            name += f"[{part}]"
            at = at[part] if isinstance(at, list) and part < len(at) else None
        else:
            name += f".{part}" if name else part
            at = at.get(part) if isinstance(at, Mapping) else None
    return clipped(name) or str(place)


def is_field(part: int | str, at: Any, *, missing: bool) -> bool:
    """Whether a part of ``loc`` names something in the body, rather than a member of a union."""
    if isinstance(part, int):
        return isinstance(at, list)
    return missing or (isinstance(at, Mapping) and part in at)


def clipped(text: str, limit: int = MAX_FIELD_CHARS) -> str:
    """Not more of what a caller sent than a reader needs."""
    return text if len(text) <= limit else text[:limit] + "…"
