"""What is said over a WebSocket: the messages that clients send, read and checked."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from ragline.errors import InvalidRequest
from ragline.http import StrictBody
from ragline.http.body import check_json
from ragline.http.problems import field_errors
from services.generator.api import GenerateBody

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="the client's own name for a question")]


class Ask(GenerateBody):
    """A question as /generate takes it, always streamed."""

    type: Literal["ask"]
    id: Id
    timeout_s: Annotated[float | None, Field(gt=0, le=3600, description="seconds that the answer may take")] = None


class Cancel(StrictBody):
    """The answer is not wanted any more."""

    type: Literal["cancel"]
    id: Id


class Ping(StrictBody):
    """Is anybody there?"""

    type: Literal["ping"]


Message = Ask | Cancel | Ping
READER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


class Unread(Exception):
    """A message that says nothing that is known; ``id`` is that of its question, where it has one."""

    def __init__(self, error: InvalidRequest, id: str = "") -> None:  # noqa: A002 - as the message has it
        super().__init__(error.detail)
        self.error, self.id = error, id


def read(text: str) -> Message:
    """A message; raises Unread."""
    try:
        raw = text.encode()
        check_json(raw)
    except UnicodeEncodeError:
        raise Unread(InvalidRequest("The message is no valid Unicode.", field="message")) from None
    except InvalidRequest as error:
        raise Unread(error) from None
    body = orjson.loads(raw)
    try:
        return READER.validate_python(body)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
        errors = field_errors(faults, body)
        detail = f"{errors[0]['field']}: {errors[0]['detail'].rstrip('.')}."
        given = body.get("id") if isinstance(body, dict) else None
        raise Unread(
            InvalidRequest(detail, errors=tuple(errors)), given if isinstance(given, str) else ""
        ) from None
