"""The dialect of OpenAI's clients, as far as all services share it: errors and streams."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Response
from pydantic import BaseModel, Field
from sse_starlette import ServerSentEvent
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragline import context
from ragline.errors import RaglineError
from ragline.http.problems import MEDIA_TYPE, encoded
from ragline.http.sse import HEARTBEAT_S, EventStream

ERRORS = "x-openai-errors"
DONE = "[DONE]"
KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {
    401: "invalid_api_key",
    404: "not_found",
    413: "too_large",
    422: "content_filter",
    429: "rate_limit_exceeded",
    503: "unavailable",
    504: "timeout",
}
UNKNOWN_MODEL = "model_not_found"
SERVER_ERROR = 500

Names = Mapping[str, str]


class Fault(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str = Field(description="one sentence: what is wrong and the way out")
    type: str
    param: str | None = Field(None, description="the parameter at fault")
    code: str | None


class FaultBody(BaseModel):
    """What an error response of these routes holds."""

    error: Fault


def fault(problem: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """A problem document as an error object; ``names`` are the parameters that fields here stand for there."""
    status = int(problem["status"])
    field = next((str(each["field"]) for each in problem.get("errors", ())), None)
    param = field and renamed(field, names)
    unknown = status == 404 and param == "model"
    code = UNKNOWN_MODEL if unknown else problem.get("code") or CODES.get(status)
    kind = KINDS.get(status) or ("server_error" if status >= SERVER_ERROR else "invalid_request_error")
    return {"error": {"message": problem["detail"], "type": kind, "param": param, "code": code}}


def renamed(field: str, names: Names) -> str:
    """A field such as ``filter.year`` by the name that the dialect has for ``filter``."""
    first, dot, rest = field.partition(".")
    name = names.get(first.partition("[")[0])
    return field if name is None else f"{name}{dot}{rest}" if name.endswith(first) else name


def dialect(**names: str) -> dict[str, Any]:
    """The ``openapi_extra`` of a route whose errors are OpenAI's; ``names`` as in ``fault``."""
    return {ERRORS: names}


def speak(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Add routes of the dialect to an application: under ``/v1`` alone, where its clients look for them."""
    for router in routers:
        app.include_router(router, prefix="/v1")
    app.add_middleware(Errors, names=cache(lambda: by_path(app.openapi())))


class Errors:
    """Turns problem documents of some routes into OpenAI's error objects, whichever layer they come from.

    ``names`` tells of the routes by path, asked with the first request, when all routes are there.
    """

    def __init__(self, app: ASGIApp, *, names: Callable[[], Mapping[re.Pattern[str], Names]]) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            for path, names in self.names().items():
                if path.match(scope["path"]):
                    send = Translated(send, names).send
                    break
        await self.app(scope, receive, send)


class Translated:
    """One response as it goes out; a problem document comes whole, in one message."""

    def __init__(self, send: Send, names: Names) -> None:
        self.out = send
        self.names = names
        self.held: Message | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start" and is_problem(message):
            self.held = message
        elif self.held is not None:
            body = encoded(fault(orjson.loads(message["body"]), self.names))
            headers = MutableHeaders(scope=self.held)
            headers["content-type"] = "application/json"
            headers["content-length"] = str(len(body))
            await self.out(self.held)
            await self.out({**message, "body": body})
            self.held = None
        else:
            await self.out(message)


def is_problem(message: Message) -> bool:
    """Whether a response that begins is a problem document."""
    return Headers(scope=message).get("content-type") == MEDIA_TYPE


def by_path(openapi: Mapping[str, Any]) -> dict[re.Pattern[str], Names]:
    """The routes whose errors are OpenAI's, as the OpenAPI document tells them."""
    return {
        compile_path(path)[0]: operation[ERRORS]
        for path, operations in openapi["paths"].items()
        for operation in operations.values()
        if ERRORS in operation
    }


def describe(components: dict[str, Any]) -> None:
    """Add the error response of these routes to the parts of an OpenAPI document."""
    schema = FaultBody.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**schema.pop("$defs"), "FaultBody": schema}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/FaultBody"}}}
    components["responses"]["Fault"] = {"description": "What went wrong, as OpenAI has it", "content": content}


def chunks(
    objects: AsyncIterator[Mapping[str, Any]], names: Names, *, heartbeat_s: float = HEARTBEAT_S
) -> Response:
    """A stream of objects that ``[DONE]`` ends; one that fails ends with an error object and without it."""
    return Chunks(objects, names, heartbeat_s)


class Chunks(EventStream):
    """The response that ``chunks`` makes."""

    def __init__(self, objects: AsyncIterator[Mapping[str, Any]], names: Names, heartbeat_s: float) -> None:
        self.names = names
        super().__init__(((("", each) async for each in objects)), heartbeat_s)
        self.objects = objects

    def frame(self, name: str, data: Mapping[str, Any]) -> ServerSentEvent:
        """One object, without a name."""
        return ServerSentEvent(data=orjson.dumps(data).decode(), sep="\n")

    def failure(self, error: RaglineError) -> ServerSentEvent:
        """What ends a stream that failed."""
        told = fault(error.problem(context.request_id()), self.names)
        return ServerSentEvent(data=encoded(told).decode(), sep="\n")

    def end(self) -> ServerSentEvent | None:
        """What ends a stream that came to its end."""
        return ServerSentEvent(data=DONE, sep="\n")
