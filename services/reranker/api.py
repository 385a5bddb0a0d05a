"""The REST door: POST /rerank."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ragline.http import StrictBody
from services.reranker.rerank import Ranking, Reranker
from services.reranker.scorers import Candidate


class RerankBody(StrictBody):
    """Passages to order by how well they answer the query."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "How is a lost message retried?",
                    "passages": ["Lost messages are sent again after a back-off.", "The office opens at nine."],
                    "top_n": 1,
                }
            ]
        },
    )

    query: Annotated[str, Field(min_length=1, description="what the passages should answer")]
    passages: Annotated[list[str], Field(min_length=1, description="what to order; indexes count from 0")]
    top_n: Annotated[int | None, Field(ge=1, description="only the best so many; absent: all")] = None
    scorer: Annotated[str | None, Field(min_length=1, description="a loaded scorer; absent: the default")] = None
    explain: Annotated[bool, Field(description="say which words of each passage match, if the scorer can")] = False


class MatchBody(BaseModel):
    """``passage[start:end]`` is most like ``query[query_start:query_end]``; offsets count code points."""

    start: int
    end: int
    query_start: int
    query_end: int
    similarity: float


class ResultBody(BaseModel):
    """A passage's place in the request and its score; ``matches`` only with ``explain``."""

    index: int
    score: float
    matches: list[MatchBody] | None = None


class RankingBody(BaseModel):
    """The passages, best first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"results": [{"index": 0, "score": 0.61}], "scorer": "late_interaction"}]}
    )

    results: list[ResultBody]
    scorer: str


def router(reranker: Reranker) -> APIRouter:
    """The routes of the reranker."""
    routes = APIRouter(tags=["reranker"])

    @routes.post("/rerank", response_model_exclude_none=True, summary="Order passages by a query")
    async def rerank(body: RerankBody) -> RankingBody:
        """Score each passage for the query and return them best first; higher scores are better.

        Scores of different scorers, and of different queries, are not to be compared.
        """
        ranking = await reranker.rerank(
            body.query,
            [Candidate(text) for text in body.passages],
            top_n=body.top_n,
            scorer=body.scorer,
            explain=body.explain,
        )
        return answer(ranking)

    return routes


def answer(ranking: Ranking) -> RankingBody:
    """The ranking as the wire has it."""
    results = [
        ResultBody(
            index=each.index,
            score=each.score,
            matches=None
            if each.matches is None
            else [
                MatchBody(
                    start=match.start,
                    end=match.end,
                    query_start=match.query_start,
                    query_end=match.query_end,
                    similarity=match.similarity,
                )
                for match in each.matches
            ],
        )
        for each in ranking.scores
    ]
    return RankingBody(results=results, scorer=ranking.scorer)
