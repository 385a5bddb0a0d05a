"""Reranking as clients of Cohere, Jina and Voyage ask for it: the same route, told apart by ``documents``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ragline.context import request_id
from ragline.errors import InvalidRequest
from ragline.http import StrictBody
from services.reranker.rerank import Ranking

OWN = "ragline"
# No names of fields, or errors could not tell them from these.
NATIVE, DIALECT = "native", "dialect"


class TextBody(BaseModel):
    """A document; what it holds beside its text is not read."""

    model_config = ConfigDict(frozen=True, strict=True)

    text: str


class DocumentsBody(StrictBody):
    """Documents to order by how well they answer the query."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "ragline",
                    "query": "How is a lost message retried?",
                    "documents": ["Lost messages are sent again after a back-off.", "The office opens at nine."],
                    "top_n": 1,
                },
                {
                    "query": "How is a lost message retried?",
                    "documents": [{"text": "Lost messages are sent again after a back-off."}],
                    "return_documents": True,
                },
            ]
        },
    )

    query: Annotated[str, Field(min_length=1, description="what the documents should answer")]
    documents: Annotated[list[str | TextBody], Field(min_length=1, description="what to order")]
    model: Annotated[str | None, Field(description="a loaded scorer; absent or ragline: the default")] = None
    top_n: Annotated[int | None, Field(ge=1, description="only the best so many; absent: all")] = None
    top_k: Annotated[int | None, Field(ge=1, description="another name of top_n")] = None
    return_documents: Annotated[bool | None, Field(description="send the texts back")] = None
    max_chunks_per_doc: Annotated[int | None, Field(description="taken, without effect")] = None
    max_tokens_per_doc: Annotated[int | None, Field(description="taken, without effect")] = None
    truncation: Annotated[bool | None, Field(description="taken, without effect")] = None
    priority: Annotated[int | None, Field(description="taken, without effect")] = None

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [each if isinstance(each, str) else each.text for each in self.documents]

    @property
    def scorer(self) -> str | None:
        """The scorer that is asked for; None for the default."""
        return None if self.model in {None, "", OWN} else self.model

    @property
    def most(self) -> int | None:
        """How many are wanted."""
        return self.top_n or self.top_k


class RelevanceBody(BaseModel):
    """A document's place in the request and its score."""

    index: int
    relevance_score: float = Field(description="0 to 1: the chance that it answers, by the scorer's calibration")
    document: TextBody | None = Field(None, description="only with return_documents")


class OrderBody(BaseModel):
    """The documents, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "8d0a9b4e6f7c4d1f9a3b2c1d0e9f8a7b",
                    "model": "late_interaction",
                    "results": [{"index": 0, "relevance_score": 0.86}],
                    "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 0}},
                    "degraded": [],
                }
            ]
        }
    )

    id: str = Field(description="of the request, as in X-Request-Id")
    model: str = Field(description="the scorer whose scores they are; empty: nobody's, the order is the one given")
    results: list[RelevanceBody]
    meta: dict[str, Any] = Field(description="what these clients look for; nothing is billed here")
    degraded: list[str] = Field(description="scorers that were to answer before it and did not")


def kind(body: Any) -> str:
    """Which of the two a body is; raises InvalidRequest for one that is both or neither."""
    if not isinstance(body, dict):
        return DIALECT if isinstance(body, DocumentsBody) else NATIVE
    both = "passages" in body and "documents" in body
    if both:
        raise InvalidRequest("send either passages or documents, not both.", field="documents")
    if "query" in body and "passages" not in body and "documents" not in body:
        raise InvalidRequest(
            "there is nothing to order; send passages, or documents as Cohere's and Jina's clients do.",
            field="passages",
        )
    return DIALECT if "documents" in body else NATIVE


def order(body: DocumentsBody, ranking: Ranking) -> OrderBody:
    """The ranking as these clients read it."""
    texts = body.texts
    results = [
        RelevanceBody(
            index=each.index,
            relevance_score=each.score,
            document=TextBody(text=texts[each.index]) if body.return_documents else None,
        )
        for each in ranking.scores
    ]
    meta = {"api_version": {"version": "1"}, "billed_units": {"search_units": 0}}
    return OrderBody(
        id=request_id(), model=ranking.scorer, results=results, meta=meta, degraded=list(ranking.degraded)
    )
