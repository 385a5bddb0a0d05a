"""Bounds and checks on the bodies of requests, before any of the application sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message as Mime
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragline.errors import InvalidRequest, TooLarge, Unsupported
from ragline.http.problems import clipped, problem

MB = 1024 * 1024
MAX_DEPTH = 64  # what one JSON value may nest in another; metadata needs two or three
JSON = "application/json"
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Limit:
    """The most bytes of a body, the setting that says so, and the kinds that are taken as they come."""

    max_bytes: int
    setting: str
    kinds: tuple[str, ...] = (FORM,)

    def too_large(self) -> TooLarge:
        """The error for a body over the limit."""
        return TooLarge(f"The body is over the limit of {self.max_bytes / MB:g} MB; {self.setting} sets it.")


class Body:
    """Refuses bodies that are too large, of an unknown kind, or JSON that is none, each with its reason.

    ``setting`` names the limit in the error. JSON is read whole and checked here, strictly (UTF-8, no NaN,
    no lone surrogates, bounded nesting), so that nothing later trips over it; forms are counted as they come.
    So is what comes to the paths of ``uploads``: these take other kinds, up to limits of their own.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, setting: str, uploads: Callable[[], Mapping[str, Limit]]
    ) -> None:
        self.app = app
        self.limit = Limit(max_bytes, setting)
        self.uploads = uploads  # asked with the first body, when all routes are there

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within the bounds."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if not has_body(headers):
            await self.app(scope, receive, send)
            return
        upload = self.uploads().get(scope["path"])
        limit = upload or self.limit
        if declared(headers) > limit.max_bytes:
            raise limit.too_large()
        kind = media_type(headers)
        if kind in limit.kinds:
            await Counted(self.app, limit, receive, send).serve(scope)
        elif upload is None and is_json(kind):
            body = await self.read(receive)
            if body:
                check_json(body)
            await self.app(scope, replay(body, receive), send)
        else:
            read = upload.kinds[0] if upload else f"{JSON} or {FORM}"
            raise Unsupported(f"Bodies of type {clipped(kind) or '(none given)'} are not read here; send {read}.")

    async def read(self, receive: Receive) -> bytes:
        """The whole body; raises TooLarge as soon as it is over the limit."""
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self.limit.max_bytes:
                raise self.limit.too_large()
            more = message.get("more_body", False)
        return b"".join(chunks)


class Counted:
    """One request whose body is counted while the application reads it.

    The application may turn the error that ends its reading into one of its own, so the answer that
    it begins after that is replaced.
    """

    def __init__(self, app: ASGIApp, limit: Limit, receive: Receive, send: Send) -> None:
        self.app = app
        self.limit = limit
        self.source = receive
        self.out = send
        self.size = 0
        self.error: TooLarge | None = None
        self.replaced = False

    async def serve(self, scope: Scope) -> None:
        """Run the application on the counted body."""

        async def send(message: Message) -> None:
            if self.error is None:
                await self.out(message)
            elif not self.replaced:
                self.replaced = True
                await problem(self.error)(scope, self.source, self.out)

        await self.app(scope, self.receive, send)

    async def receive(self) -> Message:
        """The next part of the body."""
        message = await self.source()
        self.size += len(message.get("body", b""))
        if self.size > self.limit.max_bytes:
            self.error = self.limit.too_large()
            raise self.error
        return message


def has_body(headers: Headers) -> bool:
    """Whether a body follows."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def declared(headers: Headers) -> int:
    """The bytes that the client announces; 0 where it announces none."""
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise InvalidRequest("Content-Length is no number.", field="Content-Length")
    return int(length[:20])


def media_type(headers: Headers) -> str:
    """The kind of the body, without its parameters; raises Unsupported for a compressed one."""
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise Unsupported(f"Content-Encoding {clipped(encoding)} is not read here; send the body as it is.")
    given = headers.get("content-type", "")
    if given in {JSON, ""}:
        return given
    mime = Mime()
    mime["content-type"] = given
    return mime.get_content_type()


def is_json(kind: str) -> bool:
    """``application/json`` and its relatives such as ``application/problem+json``."""
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))


def check_json(body: bytes) -> None:
    """Raise InvalidRequest that says where ``body`` is not what JSON may be."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is no valid JSON: {error.msg} (line {error.lineno}, column {error.colno}).", field="body"
        ) from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:  # with fewer it cannot be nested too deep
        check_depth(value)


def check_depth(value: Any) -> None:
    """Raise InvalidRequest where lists and objects are nested deeper than ``MAX_DEPTH``."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in children(outer)]
        if not level:
            return
    raise InvalidRequest(f"The JSON is nested more than {MAX_DEPTH} levels deep; flatten it.", field="body")


def children(value: Any) -> list[Any]:
    """The lists and objects directly inside a JSON value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in inside if isinstance(inner, dict | list)]


def replay(body: bytes, receive: Receive) -> Receive:
    """A channel that gives the body that was read, then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
