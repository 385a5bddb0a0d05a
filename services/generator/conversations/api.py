"""The REST door of conversations: POST /sessions, GET and DELETE /sessions/{id}."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from services.generator import asking
from services.generator.api import TENANT, CitationBody, FindingBody, UnsupportedBody
from services.generator.conversations.sessions import Sessions


class SessionBody(BaseModel):
    """A new conversation."""

    session_id: str = Field(description="to be sent with each question of it; who knows it can read it")


class KeptCitationBody(CitationBody):
    """A citation as it was given, with the title that the document had."""

    title: str = ""


class SaidBody(BaseModel):
    """A question of the conversation and what was answered."""

    question: str = Field(description="as it was asked")
    answer: str
    abstained: bool = Field(description="true: nothing was found that answers")
    query: str = Field(description="what was searched for; empty where that is the question as it was asked")
    answer_id: str = Field(description="id of the response")
    asked_at: float = Field(description="when it was answered, in seconds since the epoch")
    collection: str = Field(
        description="that was asked; empty in turns of earlier versions, which kept no citations"
    )
    citations: list[KeptCitationBody]
    unsupported: list[UnsupportedBody]
    findings: list[FindingBody]
    degraded: list[str] = Field(description="what was away when it was answered")
    finish: str = Field(description="length: max_tokens cut the answer short")
    model: str
    like: str = Field(description="the question that the answer was first given to; empty where that is this one")


class HistoryBody(BaseModel):
    """A conversation so far."""

    session_id: str
    turns: list[SaidBody] = Field(description="oldest first; only the latest are kept")


def router(sessions: Sessions) -> APIRouter:
    """The routes of conversations."""
    routes = APIRouter(tags=["generator"])

    @routes.post("/sessions", status_code=201, summary="Begin a conversation")
    async def create() -> SessionBody:
        """An id that nobody can guess; one that the client chooses itself needs no call."""
        return SessionBody(session_id=await sessions.create(TENANT))

    @routes.get(
        "/sessions/{session_id}", response_model_exclude_none=True, summary="What was said in a conversation"
    )
    async def read(session_id: str) -> HistoryBody:
        """The latest turns, oldest first; 404 where there is no such conversation, or no more."""
        said = await sessions.read(TENANT, asking.session(session_id))
        return HistoryBody(session_id=session_id, turns=[SaidBody.model_validate(vars(each)) for each in said])

    @routes.delete("/sessions/{session_id}", status_code=204, summary="Forget a conversation")
    async def delete(session_id: str) -> Response:
        """404 where there is no such conversation, or no more."""
        await sessions.delete(TENANT, asking.session(session_id))
        return Response(status_code=204)

    return routes
