"""The REST door: POST /retrieve."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ragline.errors import InvalidRequest
from ragline.http import StrictBody
from ragline.v1.passage_pb2 import Passage
from services.retriever import filters, wishes
from services.retriever.asking import Hit, Request, Result
from services.retriever.asking import Response as Found
from services.retriever.explaining import explanation
from services.retriever.limits import DEFAULT_TENANT, Limits, key
from services.retriever.search import Search
from services.retriever.stores import DEFAULT_COLLECTION
from services.retriever.wishes import MAX_NEIGHBOURS

EXAMPLE: dict[str, JsonValue] = {
    "query": "How is a lost message retried?",
    "collection": "default",
    "top_k": 5,
    "filter": {"lang": "en", "year": {"$gte": 2020}},
}
VARIED: dict[str, JsonValue] = {
    "query": "lost messages",
    "mode": "auto",
    "diversity": 0.3,
    "collapse": True,
    "neighbours": 1,
    "explain": True,
}
WEIGHTED: dict[str, JsonValue] = {
    "queries": ["lost messages", "ferry tickets"],
    "fusion": "weighted",
    "dense_weight": 0.3,
    "rerank": True,
    "scorer": "late_interaction",
}


class RetrieveBody(StrictBody):
    """One query, or many at once."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE, VARIED, WEIGHTED]})

    query: Annotated[str | None, Field(description="what is looked for; or give queries")] = None
    queries: Annotated[list[str] | None, Field(description="many at once; equal ones are searched once")] = None
    collection: Annotated[str, Field(min_length=1, description="where to look")] = DEFAULT_COLLECTION
    top_k: Annotated[int, Field(description="most passages a query")] = 10
    mode: Annotated[
        Literal["hybrid", "dense", "sparse", "auto"],
        Field(description="which search to use; auto: what evaluation says is best for the query"),
    ] = "hybrid"
    filter: Annotated[dict[str, Any] | None, Field(description="see docs/how-to/filter.md")] = None
    rerank: Annotated[bool, Field(description="let the reranker order the best passages")] = False
    scorer: Annotated[
        str | None,
        Field(min_length=1, max_length=100, description="with rerank: one that the reranker has loaded"),
    ] = None
    fusion: Annotated[
        Literal["weighted", "rrf"] | None,
        Field(description="how two rankings become one; RETRIEVER_FUSION if null"),
    ] = None
    dense_weight: Annotated[
        float | None, Field(ge=0, le=1, description="of the search by meaning in weighted fusion, 0 to 1")
    ] = None
    diversity: Annotated[
        float, Field(ge=0, le=1, description="0: the best first; 1: as unlike each other as can be")
    ] = 0.0
    neighbours: Annotated[
        int, Field(ge=0, le=MAX_NEIGHBOURS, description="passages before and after each hit to widen it with")
    ] = 0
    collapse: Annotated[bool, Field(description="of passages that say nearly the same, show the best")] = False
    wait_for: Annotated[
        int, Field(ge=0, description="a generation, from a write's answer or a job: search no earlier one")
    ] = 0
    explain: Annotated[bool, Field(description="tell why each passage is where it is")] = False


class MatchBody(BaseModel):
    """``text[start:end]`` of the passage is most like these words of the query; offsets count code points."""

    query: str
    query_start: int
    query_end: int
    text: str
    start: int | None = Field(description="null where it is a word of the title or section above the text")
    end: int | None
    similarity: float = Field(description="cosine")


class ExplainBody(BaseModel):
    """What each stage said of a passage; null where it did not act or did not return it."""

    mode: str | None = Field(description="what was searched for the query: hybrid, dense or sparse")
    fusion: str | None = Field(description="weighted, rrf, or single where there was one ranking")
    dense_weight: float | None
    dense_rank: int | None
    sparse_rank: int | None
    dense_score: float | None = Field(description="cosine with the query")
    sparse_score: float | None = Field(description="BM25")
    dense_normalised: float | None = Field(description="0 to 1 among the query's candidates")
    sparse_normalised: float | None = Field(description="0 to 1 of the query's best")
    fused_score: float
    fused_rank: int
    rerank_score: float | None = Field(
        description="0 to 1: the chance that it answers, by the scorer's calibration"
    )
    rerank_raw: float | None = Field(description="what the scorer itself said; the reranker's order is by this")
    scorer: str | None = Field(description="whose scores they are")
    matches: list[MatchBody] = Field(description="with rerank, by a scorer that can say: which words match")
    diversity_score: float | None = Field(description="the maximal marginal relevance that it was chosen with")
    duplicates: list[str] = Field(description="passages that were left out for it")
    neighbours: list[str] = Field(description="passages that its text was widened with")
    why: str = Field(description="a sentence for people")


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
    duplicates: list[str] | None = Field(None, description="with collapse: passages that say nearly the same")
    own: list[int] | None = Field(
        None, description="with neighbours: where in the text the passage itself begins and ends"
    )
    explain: ExplainBody | None = Field(None, description="only where asked for")


class RetrieveAnswer(BaseModel):
    """The passages, best first; with ``queries`` one such object each, in ``results``."""

    passages: list[PassageBody] | None = None
    results: list[dict[str, Any]] | None = Field(None, description="with queries: {passages, generation} each")
    generation: int = Field(description="of the collection: grows with each change")
    timings_ms: dict[str, float]
    degraded: list[str] = Field(
        description="what could not be used: dense, sparse, rerank; rerank:NAME where another scorer stood in"
    )


def router(search: Search, limits: Limits) -> APIRouter:
    """The routes of the retriever."""
    routes = APIRouter(tags=["retriever"])

    @routes.post("/retrieve", response_model=RetrieveAnswer, summary="Find passages")
    async def retrieve(body: RetrieveBody) -> Response:
        """Search a collection by meaning and by words at once.

        Scores order the passages of one query; those of different queries or modes are not to be compared. With
        ``rerank`` a score is a chance from 0 to 1, which means about the same for every query and scorer.
        """
        asked = request(body, limits)
        found = await search(asked)
        results = [
            shown(result, found, query if body.explain else None)
            for query, result in zip(asked.queries, found.results, strict=True)
        ]
        common = {"generation": found.generation, "timings_ms": rounded(found), "degraded": found.degraded}
        answer = results[0] | common if body.queries is None else {"results": results, **common}
        return Response(orjson.dumps(answer), media_type="application/json")

    return routes


def request(body: RetrieveBody, limits: Limits) -> Request:
    """What the use case is asked; raises InvalidRequest for what does not go together."""
    if (body.query is None) == (body.queries is None):
        raise InvalidRequest("Give either query or queries.", field="query" if body.query is None else "queries")
    if body.scorer and not body.rerank:
        raise InvalidRequest("scorer says who reranks; send rerank as well, or leave it out.", field="scorer")
    queries = [body.query] if body.query is not None else body.queries or []
    return Request(
        key=key(DEFAULT_TENANT, body.collection),
        queries=limits.queries(queries, batch=body.queries is not None),
        top_k=limits.top_k(body.top_k),
        filter=filters.checked(body.filter, max_terms=limits.max_filter_terms),
        rerank=body.rerank,
        scorer=body.scorer,
        explain=body.explain,
        **wishes.checked(
            {
                "mode": body.mode,
                "fusion": body.fusion,
                "dense_weight": body.dense_weight,
                "diversity": body.diversity,
                "neighbours": body.neighbours,
                "collapse": body.collapse,
                "wait_for": body.wait_for,
            }
        ),
    )


def shown(result: Result, found: Found, query: str | None) -> dict[str, Any]:
    """One query's passages as JSON has them, explained where the query is given."""
    return {
        "passages": [
            passage(hit) | ({} if query is None else {"explain": explanation(query, hit, result.how, place)})
            for place, hit in enumerate(result.hits, 1)
        ],
        "generation": found.generation,
        "timings_ms": rounded(found),
    }


def rounded(found: Found) -> dict[str, float]:
    """The stages' times to the microsecond."""
    return {stage: round(ms, 3) for stage, ms in found.timings_ms.items()}


def passage(hit: Hit) -> dict[str, Any]:
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
    if hit.duplicates:
        body["duplicates"] = list(hit.duplicates)
    if hit.own:
        body["own"] = list(hit.own)
    return body
