"""The REST door: POST /retrieve."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ragline.errors import InvalidRequest
from ragline.http import StrictBody
from ragline.v1.passage_pb2 import Passage
from services.retriever import filters
from services.retriever.asking import Hit, Request, Result
from services.retriever.asking import Response as Found
from services.retriever.limits import DEFAULT_TENANT, Limits, key
from services.retriever.search import Search
from services.retriever.stores import DEFAULT_COLLECTION

EXAMPLE: dict[str, JsonValue] = {
    "query": "How is a lost message retried?",
    "collection": "default",
    "top_k": 5,
    "filter": {"lang": "en", "year": {"$gte": 2020}},
}


class RetrieveBody(StrictBody):
    """One query, or many at once."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    query: Annotated[str | None, Field(description="what is looked for; or give queries")] = None
    queries: Annotated[list[str] | None, Field(description="many at once; equal ones are searched once")] = None
    collection: Annotated[str, Field(min_length=1, description="where to look")] = DEFAULT_COLLECTION
    top_k: Annotated[int, Field(description="most passages a query")] = 10
    mode: Annotated[Literal["hybrid", "dense", "sparse"], Field(description="which search to use")] = "hybrid"
    filter: Annotated[dict[str, Any] | None, Field(description="see docs/how-to/filter.md")] = None
    rerank: Annotated[bool, Field(description="let the reranker order the best passages")] = False
    explain: Annotated[bool, Field(description="tell each stage's rank and score of each passage")] = False


class ExplainBody(BaseModel):
    """What each stage said of a passage; null where it did not return it."""

    dense_rank: int | None
    sparse_rank: int | None
    dense_score: float | None = Field(description="cosine with the query")
    sparse_score: float | None = Field(description="BM25")
    fused_score: float
    rerank_score: float | None


class PassageBody(BaseModel):
    """A passage; ``start`` and ``end`` are offsets in the document's source text, in code points."""

    id: str
    document_id: str
    title: str
    section: str
    text: str
    score: float
    page: int | None = Field(None, description="absent where the format has no pages")
    start: int
    end: int
    metadata: dict[str, Any]
    explain: ExplainBody | None = Field(None, description="only where asked for")


class RetrieveAnswer(BaseModel):
    """The passages, best first; with ``queries`` one such object each, in ``results``."""

    passages: list[PassageBody] | None = None
    results: list[dict[str, Any]] | None = Field(None, description="with queries: {passages, generation} each")
    generation: int = Field(description="of the collection: grows with each change")
    timings_ms: dict[str, float]
    degraded: list[str] = Field(description="what could not be used: dense, sparse, rerank")


def router(search: Search, limits: Limits) -> APIRouter:
    """The routes of the retriever."""
    routes = APIRouter(tags=["retriever"])

    @routes.post("/retrieve", response_model=RetrieveAnswer, summary="Find passages")
    async def retrieve(body: RetrieveBody) -> Response:
        """Search a collection by meaning and by words at once.

        Scores order the passages of one query; those of different queries or modes are not to be compared.
        """
        found = await search(request(body, limits))
        results = [shown(result, found, explain=body.explain) for result in found.results]
        common = {"generation": found.generation, "timings_ms": rounded(found), "degraded": found.degraded}
        answer = results[0] | common if body.queries is None else {"results": results, **common}
        return Response(orjson.dumps(answer), media_type="application/json")

    return routes


def request(body: RetrieveBody, limits: Limits) -> Request:
    """What the use case is asked; raises InvalidRequest unless there is either a query or queries."""
    if (body.query is None) == (body.queries is None):
        raise InvalidRequest("Give either query or queries.", field="query" if body.query is None else "queries")
    queries = [body.query] if body.query is not None else body.queries or []
    return Request(
        key=key(DEFAULT_TENANT, body.collection),
        queries=limits.queries(queries, batch=body.queries is not None),
        top_k=limits.top_k(body.top_k),
        mode=body.mode,
        filter=filters.checked(body.filter, max_terms=limits.max_filter_terms),
        rerank=body.rerank,
    )


def shown(result: Result, found: Found, *, explain: bool) -> dict[str, Any]:
    """One query's passages as JSON has them."""
    return {
        "passages": [passage(hit, explain=explain) for hit in result.hits],
        "generation": found.generation,
        "timings_ms": rounded(found),
    }


def rounded(found: Found) -> dict[str, float]:
    """The stages' times to the microsecond."""
    return {stage: round(ms, 3) for stage, ms in found.timings_ms.items()}


def passage(hit: Hit, *, explain: bool) -> dict[str, Any]:
    """A passage as JSON has it."""
    found: Passage = hit.passage
    body: dict[str, Any] = {
        "id": found.id,
        "document_id": found.document_id,
        "title": found.title,
        "section": found.section,
        "text": found.text,
        "score": hit.score,
        "start": found.start,
        "end": found.end,
        "metadata": orjson.loads(found.metadata_json or "{}"),
    }
    if found.page:
        body["page"] = found.page
    if explain:
        fused = hit.fused
        body["explain"] = {
            "dense_rank": fused.dense_rank,
            "sparse_rank": fused.sparse_rank,
            "dense_score": fused.dense_score,
            "sparse_score": fused.sparse_score,
            "fused_score": fused.score,
            "rerank_score": hit.rerank_score,
        }
    return body
