"""The REST door of the write path: documents in, what became of them, and what is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response

from ragline.errors import NotFound, Overloaded, TimedOut, Unavailable
from ragline.http import EVENT_STREAM, sse
from ragline.v1 import passage_pb2
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.bodies import BodyLimits, DocumentsBody, read_uploads
from services.preprocess.documents import Documents
from services.preprocess.given import COLLECTION, DOCUMENT_ID
from services.preprocess.intake import Intake
from services.preprocess.jobs import Job
from services.preprocess.pipeline import sha256_of

TENANT = "default"  # until the credential names it
MAX_PAGE = 1000

CollectionQuery = Annotated[str, Query(pattern=COLLECTION, description="what the document belongs to")]
IdPath = Annotated[str, Path(pattern=DOCUMENT_ID, description="the document's id; may hold slashes")]

FORM_SCHEMA = {
    "type": "object",
    "required": ["files"],
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "collection": {"type": "string", "default": "default"},
        "metadata": {"type": "string", "description": "JSON object that every file gets"},
        "ids": {"type": "array", "items": {"type": "string"}, "description": "one a file; absent: the file names"},
    },
}
ACCEPTED = {"job_id": "job-5f0c", "documents": 2}
JOB = {
    "id": "job-5f0c",
    "state": "running",
    "done": 1,
    "total": 2,
    "errors": [{"document_id": "scan.pdf", "reason": "The PDF is locked with a password; save it without one."}],
    "collection": "default",
    "failed": 1,
    "unchanged": 0,
    "created_at": 1767225600.0,
    "finished_at": None,
}


def example(status: int, body: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """What a response looks like, for the OpenAPI document."""
    return {status: {"content": {"application/json": {"example": body}}}}


def documents_body() -> dict[str, Any]:
    """The two kinds of body that ``POST /documents`` reads, for the OpenAPI document."""
    schema = DocumentsBody.model_json_schema()
    schema["properties"]["documents"]["items"] = schema.pop("$defs")["TextDocument"]
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": FORM_SCHEMA}}
    return {"requestBody": {"required": True, "content": content}}


def router(intake: Intake, documents: Documents, limits: BodyLimits) -> APIRouter:
    """The routes over the use cases."""
    routes = APIRouter()
    routes.include_router(write_routes(intake, documents, limits), tags=["documents"])
    routes.include_router(read_routes(documents), tags=["documents"])
    routes.include_router(job_routes(intake, documents), tags=["jobs"])
    return routes


def write_routes(intake: Intake, documents: Documents, limits: BodyLimits) -> APIRouter:
    """``/documents``: in and out."""
    routes = APIRouter()

    @routes.post(
        "/documents",
        status_code=202,
        openapi_extra=documents_body(),
        responses=example(202, ACCEPTED),
        summary="Send documents",
    )
    async def post(request: Request) -> Response:
        """Take in texts (JSON) or files (multipart); the job tells when they are searchable.

        The answer comes once the documents are durable. Text without an id gets one made from its content; a
        file's id is its name. An id that is there already is replaced. `degraded` names "jobs" while their
        progress cannot be noted: the documents go in, and the job can be asked for later.
        """
        async with read_uploads(request, limits) as (collection, uploads):
            accepted = await intake.accept(TENANT, collection, uploads)
        body: dict[str, Any] = {"job_id": accepted.job_id, "documents": len(uploads)}
        if accepted.degraded:
            body["degraded"] = accepted.degraded
        return answer(body, 202, {"location": f"/jobs/{accepted.job_id}"})

    @routes.delete("/documents/{document_id:path}", summary="Delete a document")
    async def delete(document_id: IdPath, collection: CollectionQuery = "default") -> Response:
        """Remove a document, also one that is still in the queue; after this no search finds it."""
        deleted = await documents.delete(TENANT, collection, document_id)
        return answer(
            {
                "id": document_id,
                "deleted": True,
                "passages": deleted.passages,
                "generation": deleted.generation,
            }
        )

    return routes


def read_routes(documents: Documents) -> APIRouter:
    """``/documents``: what is there."""
    routes = APIRouter()
    pipeline = documents.pipeline

    @routes.get("/documents", summary="List documents")
    async def page(
        collection: CollectionQuery = "default",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        after: Annotated[str, Query(max_length=512, description="`next` of the page before")] = "",
    ) -> Response:
        """The documents of a collection by id, a page at a time; `next` is null on the last page.

        `sha256` is that of the bytes sent, or "" when sending them again would make something else of them.
        """
        found = await documents.page(TENANT, collection, limit, after)
        full = len(found.documents) == limit
        return answer(
            {
                "documents": [summary(document, pipeline) for document in found.documents],
                "next": found.documents[-1].id if full else None,
                "generation": found.generation,
            }
        )

    @routes.get("/documents/{document_id:path}", summary="Read a document")
    async def get(
        document_id: IdPath,
        collection: CollectionQuery = "default",
        passages: Annotated[bool, Query(description="add `passage_list`")] = False,
    ) -> Response:
        """A document with the text that all offsets count in."""
        found = await documents.get(TENANT, collection, document_id)
        return answer(whole(found, collection, pipeline, passages=passages))

    return routes


def job_routes(intake: Intake, documents: Documents) -> APIRouter:
    """``/jobs``."""
    routes = APIRouter()
    jobs = intake.jobs

    @routes.get("/jobs/{job_id}", summary="Ask for a job", responses=example(200, JOB))
    async def get(job_id: str) -> Response:
        """How far a job is, and which documents did not go in and why.

        `restored` and `unreported` stand there only where the record of the job was lost and begun anew: of so
        many documents counted as done nobody knows how they ended. A job that has ended has a `generation`: give
        it as `wait_for` to /retrieve or /generate, and all that the job did counts.
        """
        return answer(await told(documents, await jobs.get(TENANT, job_id)))

    @routes.delete("/jobs/{job_id}", summary="Cancel a job")
    async def cancel(job_id: str) -> Response:
        """Skip the documents that have not started; those that have are finished. An ended job stays as it is."""
        await jobs.cancel(TENANT, job_id)
        return answer(await told(documents, await jobs.get(TENANT, job_id)))

    @routes.get(
        "/jobs/{job_id}/events", summary="Follow a job", response_class=Response, responses={200: EVENT_STREAM}
    )
    async def events(job_id: str) -> Response:
        """Server-sent events: `progress` with the job at each change, at last `done`, `failed` or `cancelled`."""
        return sse(progress(intake, documents, job_id))

    return routes


async def told(documents: Documents, job: Job) -> dict[str, Any]:
    """A job as clients see it; once it has ended with the generation to wait for, unless that cannot be had.

    The collection's generation is asked for now: it is no earlier than that of the job's last write.
    """
    view = job.view()
    if job.ended:
        with suppress(NotFound, Unavailable, TimedOut, Overloaded):
            view["generation"] = (await documents.page(TENANT, job.head.collection, 1, "")).generation
    return view


async def progress(intake: Intake, documents: Documents, job_id: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The events of a job."""
    async for job in intake.jobs.watch(TENANT, job_id):
        view = await told(documents, job)
        yield "progress", view
        if job.ended:
            yield job.state, view


def answer(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(body), status, headers=dict(headers or {}), media_type="application/json")


def summary(document: pb.DocumentSummary, pipeline: str) -> dict[str, Any]:
    """A document in a list."""
    return {
        "id": document.id,
        "title": document.title,
        "metadata": orjson.loads(document.metadata_json or "{}"),
        "media_type": document.media_type,
        "sha256": sha256_of(document.content_hash, pipeline),
        "passages": document.passages,
    }


def whole(found: pb.GetDocumentResponse, collection: str, pipeline: str, *, passages: bool) -> dict[str, Any]:
    """A document by itself."""
    document = found.document
    body = {
        "id": document.id,
        "collection": collection,
        "title": document.title,
        "text": document.source,
        "metadata": orjson.loads(document.metadata_json or "{}"),
        "media_type": document.media_type,
        "sha256": sha256_of(document.content_hash, pipeline),
        "passages": len(found.passages),
        "generation": found.generation,
    }
    if passages:
        body["passage_list"] = [passage_view(passage) for passage in found.passages]
    return body


def passage_view(passage: passage_pb2.Passage) -> dict[str, Any]:
    """A passage of a document."""
    body: dict[str, Any] = {
        "id": passage.id,
        "section": passage.section,
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
    }
    if passage.page:
        body["page"] = passage.page
    return body
