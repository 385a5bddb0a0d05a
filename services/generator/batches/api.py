"""The REST door of batches: POST and GET /batches, their results and their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ragline.errors import InvalidRequest
from ragline.http import EVENT_STREAM, sse
from services.generator.batches.batches import ENDED, Batches
from services.generator.batches.intake import Intake
from services.generator.batches.lines import MAX_ID_CHARS
from services.generator.batches.manifest import Manifest

TENANT = "default"
KINDS = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines", "application/ndjson")
MAX_PAGE = 100
WATCH_S = 0.5
REQUESTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("q1", "/v1/generate", {"query": "How is a lost message retried?"}),
    ("q2", "/v1/retrieve", {"query": "lost message", "top_k": 5}),
    ("q3", "/v1/embed", {"input": "Messages are kept on disk."}),
)
EXAMPLE = b"".join(
    orjson.dumps(
        {"custom_id": custom_id, "method": "POST", "url": url, "body": body}, option=orjson.OPT_APPEND_NEWLINE
    )
    for custom_id, url, body in REQUESTS
).decode()

BatchId = Annotated[str, Path(max_length=64, description="as POST /batches gave it")]


class Urls(BaseModel):
    """Where more is told of a batch."""

    self: str
    results: str
    events: str


class BatchBody(BaseModel):
    """How far a batch is; times are in seconds since the epoch."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "batch-019305c7a4c80f1e2d3c4b5a69788796a5b4",
                    "state": "running",
                    "total": 100_000,
                    "done": 4_128,
                    "failed": 3,
                    "created_at": 1763700000.0,
                    "finished_at": None,
                    "expires_at": 1764304800.0,
                    "urls": {
                        "self": "/batches/batch-019305c7a4c80f1e2d3c4b5a69788796a5b4",
                        "results": "/batches/batch-019305c7a4c80f1e2d3c4b5a69788796a5b4/results",
                        "events": "/batches/batch-019305c7a4c80f1e2d3c4b5a69788796a5b4/events",
                    },
                }
            ]
        }
    )

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"] = Field(
        description="queued: no line has a result yet; failed: every line ended in an error"
    )
    total: int = Field(description="lines that hold something")
    done: int = Field(description="lines that have a result, be it an error")
    failed: int = Field(description="lines of them whose result is an error")
    created_at: float
    finished_at: float | None
    expires_at: float = Field(description="when the batch and its results are removed")
    urls: Urls


class PageBody(BaseModel):
    """Batches, the newest first."""

    batches: list[BatchBody]
    next: str | None = Field(description="`after` of the next page; null on the last")


class ResultBody(BaseModel):
    """What one line came to: ``body`` is what its route answered, ``error`` a problem document."""

    custom_id: str | None
    line: int = Field(description="number of the line in the file, from 1")
    status: int = Field(description="as the route would have answered")
    body: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def lines_body(max_mb: int, max_lines: int) -> dict[str, Any]:
    """The body of POST /batches for OpenAPI, and its own limit."""
    schema = {
        "type": "string",
        "description": f"up to {max_lines} lines, each a JSON object with custom_id, method, url and body",
    }
    content = {kind: {"schema": schema, "example": EXAMPLE} for kind in KINDS}
    return {
        "requestBody": {"required": True, "content": content},
        "x-body-limit": {"mb": max_mb, "setting": "GENERATOR_MAX_BATCH_MB"},
    }


def router(intake: Intake, max_mb: int) -> APIRouter:
    """The routes over the use cases."""
    routes = APIRouter()
    routes.include_router(batch_routes(intake, max_mb), tags=["batches"])
    routes.include_router(result_routes(intake.batches), tags=["batches"])
    return routes


def batch_routes(intake: Intake, max_mb: int) -> APIRouter:
    """``/batches`` and what is known of each."""
    routes = APIRouter()
    batches = intake.batches

    @routes.post(
        "/batches",
        status_code=202,
        response_model=BatchBody,
        openapi_extra=lines_body(max_mb, intake.bounds.lines),
        summary="Send many requests in one file",
    )
    async def post(request: Request) -> Response:
        """Take in a file of requests to /generate, /retrieve and /embed, one JSON object a line.

        The answer comes once the file is durable; workers answer the lines. A line that is wrong becomes an
        error of its own; a file without any request is refused as a whole.
        """
        batch = await intake.accept(TENANT, request.stream())
        view = await asyncio.to_thread(batches.view, batch)
        return as_json(view, 202, {"location": f"/batches/{batch.id}"})

    @routes.get("/batches", response_model=PageBody, summary="List batches")
    async def page(
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
        after: Annotated[str, Query(max_length=64, description="`next` of the page before")] = "",
    ) -> Response:
        """The batches that are kept, the newest first."""
        found = await asyncio.to_thread(batches.page, TENANT, limit, after)
        following = found[-1]["id"] if len(found) == limit else None
        return as_json({"batches": found, "next": following})

    @routes.get("/batches/{batch_id}", response_model=BatchBody, summary="Ask for a batch")
    async def get(batch_id: BatchId) -> Response:
        """How far a batch is."""
        return as_json(await asyncio.to_thread(seen, batches, batch_id))

    @routes.delete("/batches/{batch_id}", response_model=BatchBody, summary="Cancel a batch")
    async def cancel(batch_id: BatchId) -> Response:
        """Begin no more of its lines, on no worker. Results that are there stay; an ended batch stays as it is."""
        batch = await asyncio.to_thread(batches.get, TENANT, batch_id)
        await asyncio.to_thread(batches.cancel, batch)
        return as_json(await asyncio.to_thread(batches.view, batch))

    @routes.get(
        "/batches/{batch_id}/events",
        summary="Follow a batch",
        response_class=Response,
        responses={200: EVENT_STREAM},
    )
    async def events(batch_id: BatchId) -> Response:
        """Server-sent events: `progress` with the batch at each change; then `done`, `failed` or `cancelled`."""
        return sse(progress(batches, batch_id))

    return routes


def result_routes(batches: Batches) -> APIRouter:
    """``/batches/{batch_id}/results``."""
    routes = APIRouter()

    @routes.get(
        "/batches/{batch_id}/results",
        response_class=Response,
        responses={200: {"content": {KINDS[0]: {"schema": {"type": "string"}}}}},
        summary="Fetch results",
    )
    async def results(
        batch_id: BatchId,
        order: Annotated[
            Literal["input", "finished"],
            Query(description="input: up to the first line that is not finished; finished: all that are"),
        ] = "input",
        after_line: Annotated[int, Query(ge=0, description="begin behind this line of the file")] = 0,
    ) -> Response:
        """The results so far, one JSON object a line, in the order of the file; also while the batch runs.

        To go on later, ask again with the `line` of the last one as `after_line`.
        """
        if after_line and order == "finished":
            raise InvalidRequest(
                "after_line needs order=input: what is finished later may stand before.", field="after_line"
            )
        batch = await asyncio.to_thread(batches.get, TENANT, batch_id)
        parts = written(batches, batch, after_line, in_order=order == "input")
        return StreamingResponse(parts, media_type=KINDS[0])

    @routes.get(
        "/batches/{batch_id}/results/{custom_id:path}", response_model=ResultBody, summary="Fetch one result"
    )
    async def result(batch_id: BatchId, custom_id: Annotated[str, Path(max_length=MAX_ID_CHARS)]) -> Response:
        """The result of the line with this custom_id."""
        batch = await asyncio.to_thread(batches.get, TENANT, batch_id)
        found = await asyncio.to_thread(batches.results.of_id, batch, custom_id)
        return Response(found.raw, media_type="application/json")

    return routes


def seen(batches: Batches, batch_id: str) -> dict[str, Any]:
    """A batch as clients see it. Blocks."""
    return batches.view(batches.get(TENANT, batch_id))


async def written(batches: Batches, batch: Manifest, after: int, *, in_order: bool) -> AsyncIterator[bytes]:
    """The results, a chunk at a time."""
    found = batches.results.after(batch, after, in_order=in_order)
    while (part := await asyncio.to_thread(next, found, None)) is not None:
        yield b"".join(result.raw for result in part)


async def progress(batches: Batches, batch_id: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The events of a batch."""
    before: dict[str, Any] = {}
    while True:
        view = await asyncio.to_thread(seen, batches, batch_id)
        if view != before:
            yield "progress", view
            before = view
        if view["state"] in ENDED:
            yield view["state"], view
            return
        await asyncio.sleep(WATCH_S)


def as_json(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(body), status, headers=dict(headers or {}), media_type="application/json")
