"""The REST door: POST /generate and /summarize, whole or as typed server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from ragline.errors import InvalidRequest, TooLarge
from ragline.http import EVENT_STREAM, StrictBody, sse
from services.generator import asking, wire
from services.generator.answer import Answerer
from services.generator.events import Question, Retrieval, Turn
from services.generator.summaries.summarize import Summarizer, Texts

TENANT = "default"
STREAM = "send typed server-sent events instead of one JSON object"


class TurnBody(StrictBody):
    """A question of a conversation and what was answered."""

    question: str
    answer: str


class GenerateBody(StrictBody):
    """A question to a collection."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "How is a lost message retried?"},
                {"query": "How long is the warranty?", "collection": "manuals", "top_k": 8, "stream": True},
                {"query": "Who is the mayor?", "mode": "auto", "neighbours": 1, "collapse": True, "wait_for": 3},
                {"query": "How is a lost message retried?", "scorer": "late_interaction", "explain": True},
            ]
        },
    )

    query: Annotated[str, Field(description="what is asked")]
    collection: Annotated[str, Field(description="where to look")] = "default"
    top_k: Annotated[int, Field(ge=1, description="passages that the answer is made from")] = 5
    filter: Annotated[dict[str, Any] | None, Field(description="on documents' metadata, as in /retrieve")] = None
    mode: Annotated[
        Literal["hybrid", "dense", "sparse", "auto"], Field(description="which search to use, as in /retrieve")
    ] = "hybrid"
    fusion: Annotated[Literal["weighted", "rrf"] | None, Field(description="as in /retrieve")] = None
    dense_weight: Annotated[float | None, Field(ge=0, le=1, description="as in /retrieve")] = None
    diversity: Annotated[float, Field(ge=0, le=1, description="as in /retrieve")] = 0.0
    neighbours: Annotated[int, Field(ge=0, le=10, description="passages to widen each with, as in /retrieve")] = 0
    collapse: Annotated[bool, Field(description="of passages that say nearly the same, use the best")] = False
    wait_for: Annotated[int, Field(ge=0, description="a generation: answer from no earlier one")] = 0
    scorer: Annotated[
        str | None, Field(min_length=1, description="orders the passages: one that the reranker has loaded")
    ] = None
    max_tokens: Annotated[int, Field(ge=1, description="most tokens of the answer")] = 256
    temperature: Annotated[float, Field(ge=0, le=2, description="0: the likeliest answer")] = 0.0
    llm: Annotated[str | None, Field(min_length=1, description="writes the answer: one that is set up")] = None
    prompt: Annotated[
        str | None, Field(min_length=1, description="name or name@version of what the LLM is asked")
    ] = None
    unsupported: Annotated[
        Literal["drop", "flag"] | None, Field(description="what becomes of sentences that no passage supports")
    ] = None
    answer_schema: Annotated[
        dict[str, Any] | None, Field(alias="schema", description="a JSON schema that the answer is to follow")
    ] = None
    session_id: Annotated[str | None, Field(min_length=1, description="the conversation it belongs to")] = None
    turns: Annotated[
        list[TurnBody],
        Field(default_factory=list, description="what was said before, oldest first, if no session"),
    ]
    expand: Annotated[int, Field(ge=0, description="other wordings of the question to search for as well")] = 0
    stream: Annotated[bool, Field(description=STREAM)] = False
    explain: Annotated[bool, Field(description="add each stage's ranks and scores, and the prompt")] = False


class SummarizeBody(StrictBody):
    """What to summarise: ``text``, or documents of a collection."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "The retriever holds the passages. It searches them by words and by meaning."},
                {"document_ids": ["handbook"], "collection": "manuals", "max_tokens": 200},
                {"document_ids": ["handbook", "faq"], "query": "the warranty", "stream": True},
            ]
        },
    )

    text: Annotated[str | None, Field(description="the text itself")] = None
    document_ids: Annotated[list[str] | None, Field(description="documents of the collection instead")] = None
    collection: Annotated[str, Field(description="where the documents are")] = "default"
    query: Annotated[str, Field(description="what to look at in them; empty: everything")] = ""
    llm: Annotated[str | None, Field(min_length=1, description="writes the summary: one that is set up")] = None
    max_tokens: Annotated[int, Field(ge=1, description="most tokens of the summary")] = 256
    stream: Annotated[bool, Field(description=STREAM)] = False


class CitationBody(BaseModel):
    """A span that supports what stands before its marker in the answer."""

    marker: str = Field(description="as it stands in the answer")
    document_id: str
    passage_id: str
    quote: str = Field(description="the document's source text from start to end, letter by letter")
    start: int
    end: int
    page: int | None = Field(None, description="absent where the format has no pages")
    masked: bool = Field(False, description="true: each letter of the quote that a guard hides is a full block")
    score: float = Field(description="how much of the claim the quote holds, up to 1")


class UsageBody(BaseModel):
    """Tokens that this request took, and their cost by the prices that are set, in their currency.

    Rewriting a follow-up and writing other wordings are included; an answer that was kept took none.
    """

    prompt_tokens: int
    completion_tokens: int
    cost: float


class UnsupportedBody(BaseModel):
    """answer[start:end] is said by no passage; offsets count code points."""

    start: int
    end: int
    reason: str


class FindingBody(BaseModel):
    """What a guard found and what it did."""

    guard: str
    stage: Literal["question", "passages", "answer"]
    action: Literal["flag", "mask", "refuse"]
    detail: str = Field(description="what kind of thing; never the thing itself")
    count: int


class AnswerBody(BaseModel):
    """An answer whose sentences carry citations, but for those that are flagged; or an abstention."""

    id: str
    answer: str
    citations: list[CitationBody]
    abstained: bool = Field(description="true: nothing was found that answers; the text says what was looked at")
    degraded: list[str] = Field(
        description="what was away: dense, sparse, rerank, llm, session; rerank:NAME where another scorer stood in"
    )
    usage: UsageBody
    timings_ms: dict[str, float]
    generation: int = Field(description="of the collection, which the answer was made from")
    cached: bool
    model: str
    prompt: str = Field(description="name@version of what the LLM was asked; empty where none was asked")
    finish: Literal["stop", "length"] = Field(description="length: max_tokens cut the answer short")
    query: str | None = Field(None, description="what was searched for, where that is not the question as asked")
    session_id: str | None = Field(None, description="only in a conversation")
    like: str | None = Field(None, description="the question that the kept answer was made for, if another one")
    unsupported: list[UnsupportedBody] = Field([], description="only where they were to be flagged")
    findings: list[FindingBody] = Field([], description="only where a guard found something")
    pointers: dict[str, list[str]] = Field(
        {}, description="only with schema: the markers of each value, by its JSON pointer"
    )
    explain: dict[str, Any] | None = Field(None, description="only with explain")


class SummarizedBody(BaseModel):
    """A text that was summarised; the id is empty where it came with the request."""

    id: str
    title: str
    characters: int


class AttributedBody(BaseModel):
    """summary[begin:stop] says what the quote says; offsets count code points."""

    begin: int
    stop: int
    document_id: str
    start: int
    end: int
    quote: str = Field(description="the document's source text from start to end, letter by letter")
    masked: bool = Field(False, description="true: each letter of the quote that a guard hides is a full block")


class SummaryBody(BaseModel):
    """A summary, and where its sentences come from; one that puts several together may have no citation."""

    summary: str
    citations: list[AttributedBody]
    documents: list[SummarizedBody]
    usage: UsageBody
    timings_ms: dict[str, float]
    model: str
    degraded: list[str]
    finish: Literal["stop", "length"] = Field(description="length: max_tokens cut the summary short")
    cached: bool
    abstained: bool = Field(description="true: the guards let nothing be told; the text says so")
    findings: list[FindingBody] = Field([], description="only where a guard found something")


def router(answerer: Answerer, summarizer: Summarizer, limits: asking.Limits, max_documents: int) -> APIRouter:
    """The routes of the generator."""
    routes = APIRouter(tags=["generator"])

    @routes.post(
        "/generate",
        response_model=AnswerBody,
        responses={200: EVENT_STREAM},
        summary="Answer a question from a collection",
    )
    async def generate(body: GenerateBody) -> Response:
        """Search, rerank, write, check: each sentence is backed by a quote, or there is an abstention.

        With ``stream``: events ``passages``, ``token``, ``citation``, ``usage``, then ``done`` with the whole
        object, or ``error`` with a problem document. The tokens joined are the answer.
        """
        asked = asking.question(question(body), limits)
        if body.stream:
            return sse(answering(answerer, asked))
        return as_json(wire.answer(await answerer.answer(asked)))

    @routes.post(
        "/summarize",
        response_model=SummaryBody,
        responses={200: EVENT_STREAM},
        summary="Summarise a text or documents",
    )
    async def summarize(body: SummarizeBody) -> Response:
        """Long input is summarised section by section, then the sections' summaries.

        With ``stream``: events ``progress`` (which documents, and how many of the parts are done), ``token``,
        ``citation``, then ``done`` with the whole object, or ``error``. The tokens joined are the summary.
        """
        texts = checked(body, max_documents, limits)
        max_tokens = asking.answer_tokens(body.max_tokens, limits)
        if body.stream:
            return sse(summarizing(summarizer, texts, max_tokens))
        return as_json(wire.summary(await summarizer.summarize(texts, max_tokens)))

    return routes


def question(body: GenerateBody) -> Question:
    """The body as the use case takes it."""
    return Question(
        tenant=TENANT,
        collection=body.collection,
        query=body.query,
        top_k=body.top_k,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        filter_json=asking.as_json(body.filter),
        explain=body.explain,
        scorer=body.scorer or "",
        llm=body.llm or "",
        prompt=body.prompt or "",
        unsupported=body.unsupported or "",
        schema_json=asking.as_json(body.answer_schema),
        session_id=body.session_id or "",
        turns=tuple(Turn(each.question, each.answer) for each in body.turns),
        expand=body.expand,
        retrieval=Retrieval(
            mode=body.mode,
            fusion=body.fusion or "",
            dense_weight=body.dense_weight,
            diversity=body.diversity,
            neighbours=body.neighbours,
            collapse=body.collapse,
            wait_for=body.wait_for,
        ),
    )


def checked(body: SummarizeBody, max_documents: int, limits: asking.Limits) -> Texts:
    """The body as the use case takes it; raises InvalidRequest unless exactly one kind of input is there."""
    if len(body.query) > limits.query_chars:
        raise TooLarge(
            f"query is over the {limits.query_chars} characters of GENERATOR_MAX_QUERY_CHARS.", field="query"
        )
    if (body.text is None) == (body.document_ids is None):
        raise InvalidRequest("send either text or document_ids.", field="text")
    if body.document_ids is not None and not body.document_ids:
        raise InvalidRequest("document_ids is empty; name a document.", field="document_ids")
    if len(body.document_ids or ()) > max_documents:
        raise TooLarge(
            f"document_ids has {len(body.document_ids or ())} ids, over the {max_documents} of "
            "GENERATOR_MAX_SUMMARY_DOCUMENTS.",
            field="document_ids",
        )
    return Texts(
        TENANT,
        asking.collection(body.collection),
        body.text,
        tuple(body.document_ids or ()),
        " ".join(body.query.split()),
        body.llm or "",
    )


async def answering(answerer: Answerer, asked: Question) -> AsyncGenerator[tuple[str, Mapping[str, Any]], None]:
    """The events of an answer."""
    async with aclosing(answerer.stream(asked)) as events:
        async for event in events:
            yield wire.event(event)


async def summarizing(
    summarizer: Summarizer, texts: Texts, max_tokens: int
) -> AsyncGenerator[tuple[str, Mapping[str, Any]], None]:
    """The events of a summary."""
    async with aclosing(summarizer.stream(texts, max_tokens)) as events:
        async for event in events:
            yield wire.summarizing(event)


def as_json(body: Mapping[str, Any]) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(body), media_type="application/json")
