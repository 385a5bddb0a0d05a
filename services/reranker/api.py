"""The REST door: POST /rerank."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ragline.http import StrictBody
from services.reranker.api_documents import DIALECT, NATIVE, DocumentsBody, OrderBody, kind, order
from services.reranker.rerank import Ranking, Reranker, Score
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
                },
                {
                    "query": "How is a lost message retried?",
                    "passages": ["Lost messages are sent again after a back-off.", "The office opens at nine."],
                    "min_score": 0.5,
                },
            ]
        },
    )

    query: Annotated[str, Field(min_length=1, description="what the passages should answer")]
    passages: Annotated[list[str], Field(min_length=1, description="what to order; indexes count from 0")]
    top_n: Annotated[int | None, Field(ge=1, description="only the best so many; absent: all")] = None
    min_score: Annotated[float | None, Field(ge=0, le=1, description="leave out what scores below this")] = None
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
    """A passage's place in the request and its scores; ``matches`` only with ``explain``."""

    index: int
    score: float = Field(description="0 to 1: the chance that the passage answers, by the scorer's calibration")
    raw: float = Field(description="what the scorer itself said; the order is by this")
    matches: list[MatchBody] | None = None


class RankingBody(BaseModel):
    """The passages, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "results": [{"index": 0, "score": 0.86, "raw": 0.61}],
                    "scorer": "late_interaction",
                    "degraded": [],
                }
            ]
        }
    )

    results: list[ResultBody]
    scorer: str = Field(description="whose scores they are; empty: nobody's, the order is the one given")
    degraded: list[str] = Field(
        description="scorers that were to answer before it and did not, in the order tried; NAME:matches where "
        "NAME could not explain"
    )
    trial: bool | None = Field(None, description="true: a canary gave them; who asks again may get another's")


Body = Annotated[Annotated[RerankBody, Tag(NATIVE)] | Annotated[DocumentsBody, Tag(DIALECT)], Discriminator(kind)]


def router(reranker: Reranker) -> APIRouter:
    """The routes of the reranker."""
    routes = APIRouter(tags=["reranker"])

    @routes.post("/rerank", response_model_exclude_none=True, summary="Order passages by a query")
    async def rerank(body: Body) -> RankingBody | OrderBody:
        """Score each passage for the query and return them best first.

        ``score`` is calibrated: a chance from 0 to 1 that means about the same for every query and scorer, so a
        threshold on it (``min_score``) outlives a change of the scorer. ``raw`` means something beside others of
        the same query and scorer only. Where no scorer answered there are no scores to go by: ``scorer`` is empty,
        the order is the one given, and nothing is left out.

        With `documents` in place of `passages` it is asked and answered as clients of Cohere and Jina do it.
        """
        if isinstance(body, DocumentsBody):
            candidates = [Candidate(text) for text in body.texts]
            found = await reranker.rerank(body.query, candidates, top_n=body.most, scorer=body.scorer)
            return order(body, found)
        ranking = await reranker.rerank(
            body.query,
            [Candidate(text) for text in body.passages],
            top_n=body.top_n,
            scorer=body.scorer,
            explain=body.explain,
        )
        return answer(ranking, body.min_score or 0.0)

    return routes


def answer(ranking: Ranking, min_score: float) -> RankingBody:
    """The ranking as the wire has it, without what a scorer gave less than ``min_score``."""
    results = [
        ResultBody(index=each.index, score=each.score, raw=each.raw, matches=matches(each))
        for each in ranking.scores
        if each.score >= min_score or not ranking.scorer
    ]
    trial = ranking.trial or None
    return RankingBody(results=results, scorer=ranking.scorer, degraded=list(ranking.degraded), trial=trial)


def matches(score: Score) -> list[MatchBody] | None:
    """A passage's matches; None where they were not asked for."""
    return None if score.matches is None else [MatchBody(**asdict(match)) for match in score.matches]
