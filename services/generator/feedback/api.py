"""The REST door for feedback: giving it is for everybody, reading and exporting it for who runs the service."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ragline.errors import NotFound
from ragline.http import StrictBody
from ragline.http.admin import AdminDoor
from services.generator.feedback.votes import Rating, Vote, Votes, Wanted

TENANT = "default"
MAX_CHARS = 16_384
MAX_EXPORT = 1_000_000
LINES = "application/jsonl"
TAG = Annotated[str, Field(min_length=1, max_length=64)]


class FeedbackBody(StrictBody):
    """What someone says of an answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"answer_id": "5f0c2a1e7b9d4c3fa8e6d1b2c4f5a697", "rating": "up"},
                {
                    "answer_id": "5f0c2a1e7b9d4c3fa8e6d1b2c4f5a697",
                    "rating": "down",
                    "comment": "That was the old price.",
                    "corrected_answer": "Entry costs 6 euros.",
                    "tags": ["outdated"],
                },
            ]
        }
    )

    answer_id: Annotated[str, Field(min_length=1, max_length=128, description="the id that /generate gave")]
    rating: Rating
    comment: Annotated[str, Field(max_length=MAX_CHARS, description="why")] = ""
    corrected_answer: Annotated[str, Field(max_length=MAX_CHARS, description="what it should have been")] = ""
    tags: Annotated[list[TAG], Field(default_factory=list, max_length=16, description="to sort it by")]

    def vote(self) -> Vote:
        """The feedback in plain types."""
        return Vote(self.answer_id, self.rating, self.comment, self.corrected_answer, tuple(self.tags))


class GivenBody(BaseModel):
    """Feedback as it was kept: of its texts, what the guards let be stored."""

    id: str
    at: str
    answer_id: str
    rating: Rating
    comment: str
    corrected_answer: str
    tags: list[str]


class ListedBody(GivenBody):
    """Feedback with what led to the answer, as it was when it was given."""

    cursor: str
    answer: dict[str, Any] = Field(description="question, passages, prompt, model, answer, citations and more")


class PageBody(BaseModel):
    """A page of feedback, oldest first."""

    feedback: list[ListedBody]
    next: str | None = Field(None, description="send it as after for the next page; null: this is the last one")


class Filter(BaseModel):
    """Which feedback."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = TENANT
    collection: Annotated[str, Field(description="of this collection only")] = ""
    rating: Annotated[Literal["", "up", "down"], Field(description="with this rating only")] = ""
    since: Annotated[datetime | None, Field(description="given at or after: a date or time, UTC if no zone")] = (
        None
    )
    until: Annotated[datetime | None, Field(description="given before")] = None
    after: Annotated[str, Field(max_length=128, description="a page's next")] = ""

    def wanted(self) -> Wanted:
        """The filter in plain types."""
        made = Wanted(self.tenant, self.after, collection=self.collection, rating=self.rating)
        since_s = seconds(self.since) if self.since else made.since_s
        return Wanted(
            made.tenant,
            made.after,
            since_s,
            seconds(self.until) if self.until else made.until_s,
            made.collection,
            made.rating,
        )


class PageFilter(Filter):
    """Which feedback, and how much of it."""

    limit: Annotated[int, Field(ge=1, le=1000, description="most of a page")] = 100


def seconds(when: datetime) -> float:
    """Seconds since 1970; a time without a zone is in UTC."""
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def router(votes: Votes | None, token: SecretStr | None) -> APIRouter:
    """The routes under /feedback; without ``votes`` each says that nothing is recorded."""
    routes = APIRouter(prefix="/feedback", tags=["feedback"])
    admin = [Depends(AdminDoor(token, "GENERATOR_ADMIN_TOKEN", "Feedback is read"))]

    @routes.post("", status_code=201, response_model=GivenBody, summary="Say whether an answer was any good")
    async def give(body: FeedbackBody) -> dict[str, Any]:
        """Keep it together with what led to the answer. Several people may say something of one answer."""
        return await there(votes).give(TENANT, body.vote())

    @routes.get("", response_model=PageBody, dependencies=admin, summary="Feedback with its answers, paged")
    async def listed(asked: Annotated[PageFilter, Query()]) -> Response:
        """Oldest first."""
        found = [vote async for vote in there(votes).listed(asked.wanted(), asked.limit)]
        cursor = found[-1]["cursor"] if len(found) == asked.limit else None
        return Response(orjson.dumps({"feedback": found, "next": cursor}), media_type="application/json")

    @routes.get(
        "/export",
        dependencies=admin,
        response_class=Response,
        responses={200: {"content": {LINES: {"schema": {"type": "string"}}}}},
        summary="All feedback with its answers, one a line",
    )
    async def export(asked: Annotated[Filter, Query()]) -> Response:
        """Newline-delimited JSON, oldest first; `ragline feedback export` makes data sets of it."""
        return StreamingResponse(lines(there(votes), asked.wanted()), media_type=LINES)

    return routes


def there(votes: Votes | None) -> Votes:
    """The votes; raises NotFound where none are kept."""
    if votes is None:
        raise NotFound(
            "No records of answers are kept here, so feedback has nothing to belong to; set GENERATOR_RECORDS_URL."
        )
    return votes


async def lines(votes: Votes, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    """Each vote as a line."""
    async with aclosing(votes.listed(wanted, MAX_EXPORT)) as found:
        async for vote in found:
            yield orjson.dumps(vote) + b"\n"
