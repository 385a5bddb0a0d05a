"""The lines of a batch: a request in, a result out, each one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ragline.errors import InvalidRequest, RaglineError
from ragline.http.body import check_depth
from ragline.http.problems import clipped

FIELDS = ("custom_id", "method", "url", "body")
URLS = {f"{prefix}/{route}": route for prefix in ("", "/v1") for route in ("generate", "retrieve", "embed")}
MAX_ID_CHARS = 512
OK = range(200, 300)
BUSY = 429
AGAIN = frozenset({499, 500, 502, 503, 504})  # statuses that another try may change
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """One request: its number in the file, from 1, its own id if it has one, the route and what that is sent."""

    number: int
    custom_id: str | None
    route: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a route said; ``content`` is JSON."""

    status: int
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status in OK

    @property
    def busy(self) -> bool:
        """Whether there was no room for it: nothing is wrong with it or the service."""
        return self.status == BUSY

    @property
    def again(self) -> bool:
        """Whether another try may end otherwise."""
        return self.status in AGAIN


def parse(number: int, raw: bytes) -> Line:
    """The request of a line. Raises InvalidRequest that says what is wrong with it."""
    given = loaded(raw)
    if unknown := [name for name in given if name not in FIELDS]:
        raise InvalidRequest(
            f"{clipped(unknown[0], 40)} is no field of a line; there are {', '.join(FIELDS)}.", field=unknown[0]
        )
    if given.get("method", "POST") != "POST":
        raise InvalidRequest("method must be POST, or be left out.", field="method")
    url = given.get("url")
    route = URLS.get(url) if isinstance(url, str) else None
    if route is None:
        known = ", ".join(each for each in URLS if each.startswith("/v1/"))
        raise InvalidRequest(f"url must be one of {known}.", field="url")
    body = given.get("body")
    if not isinstance(body, dict):
        raise InvalidRequest("body must be the JSON object that the route takes.", field="body")
    if body.get("stream"):
        raise InvalidRequest("stream is not for batches; leave it out.", field="body.stream")
    check_depth(body)
    return Line(number, checked_id(given.get("custom_id")), route, body)


def loaded(raw: bytes) -> dict[str, Any]:
    """The JSON object of a line; raises InvalidRequest where it is none."""
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The line is no valid JSON: {error.msg} (column {error.colno}).") from None
    if not isinstance(given, dict):
        raise InvalidRequest("The line is no JSON object.")
    return given


def checked_id(given: Any) -> str | None:
    """A ``custom_id``, if it can be one."""
    if given is None:
        return None
    if not isinstance(given, str) or not 0 < len(given) <= MAX_ID_CHARS:
        raise InvalidRequest(f"custom_id must be a text of 1 to {MAX_ID_CHARS} characters.", field="custom_id")
    return given


def id_of(raw: bytes) -> str | None:
    """The ``custom_id`` of a line that may be bad in other ways; None where none can be read."""
    try:
        return checked_id(loaded(raw).get("custom_id"))
    except InvalidRequest:
        return None


def repeated(custom_id: str | None) -> InvalidRequest:
    """What is wrong with a line whose id stands in a line before it."""
    return InvalidRequest(
        f"custom_id {clipped(custom_id or '', 80)!r} is that of a line before; give each line its own.",
        field="custom_id",
    )


def refused(error: RaglineError, instance: str = "") -> Answer:
    """An error as a route would answer it."""
    return Answer(error.http_status, orjson.dumps(error.problem(instance)))


@dataclass(frozen=True)
class Result:
    """A line of the results: of which line of the input, whether that failed, and the bytes with their end."""

    number: int
    failed: bool
    raw: bytes


def result(number: int, custom_id: str | None, answer: Answer) -> Result:
    """What a line came to."""
    content = orjson.Fragment(answer.content) if b"\n" not in answer.content else orjson.loads(answer.content)
    told = {"custom_id": custom_id, "line": number, "status": answer.status}
    raw = orjson.dumps({**told, "body" if answer.ok else "error": content})
    return Result(number, not answer.ok, raw + b"\n")


def read_result(raw: bytes) -> Result | None:
    """A line of the results without its end; None where a crash cut it off."""
    try:
        told = orjson.loads(raw)
        return Result(int(told["line"]), told["status"] not in OK, raw + b"\n")
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
