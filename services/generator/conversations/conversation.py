"""Gives a question the turns before it and a query that stands alone, and remembers what was answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import structlog

from ragline.errors import Unavailable
from services.generator import wire
from services.generator.conversations.sessions import Said, Sessions
from services.generator.conversations.standalone import Standalone
from services.generator.events import Done, Question, Ranked, Turn

AWAY = ("session",)

log = structlog.get_logger(__name__)


class Conversations:
    """The conversations of all clients: those that are kept here, and those that clients keep themselves.

    A store that is away costs the history, not the answer: both steps then say ``session``.
    """

    def __init__(self, sessions: Sessions, standalone: Standalone, max_turns: int) -> None:
        self.sessions = sessions
        self.standalone = standalone
        self.max_turns = max_turns

    async def begin(self, question: Question) -> tuple[Question, tuple[str, ...]]:
        """The question with the latest turns before it and a query that stands alone; and what was away."""
        degraded: tuple[str, ...] = ()
        if question.session_id:
            try:
                before = await self.sessions.latest(question.tenant, question.session_id, self.max_turns)
                question = replace(question, turns=tuple(map(turn, before)))
            except Unavailable as error:
                log.warning("answering without the session", reason=error.detail)
                degraded = AWAY
        query = await self.standalone.rewrite(question, question.turns)
        return replace(question, query=query), degraded

    async def end(self, question: Question, done: Done, ranked: Sequence[Ranked]) -> tuple[str, ...]:
        """Remember the question, as it was asked, and its answer; returns what was away."""
        if not question.session_id:
            return ()
        try:
            await self.sessions.add(question.tenant, question.session_id, said(question, done, ranked))
        except Unavailable as error:
            log.warning("the session lacks a turn", reason=error.detail)
            return AWAY
        return ()


def said(question: Question, done: Done, ranked: Sequence[Ranked]) -> Said:
    """What is kept of an answer: all that it takes to show it again with its sources."""
    outcome = done.outcome
    titles = {each.passage.id: each.passage.title for each in ranked}
    return Said(
        question=question.query,
        answer=outcome.answer,
        abstained=outcome.abstained,
        query=done.query,
        answer_id=done.id,
        asked_at=time.time(),
        collection=question.collection,
        citations=tuple(
            {**wire.citation(each), "title": titles.get(each.passage_id, "")} for each in outcome.citations
        ),
        unsupported=tuple(asdict(each) for each in outcome.unsupported),
        findings=tuple(asdict(each) for each in done.findings),
        degraded=outcome.degraded,
        finish=outcome.finish,
        model=outcome.model,
        like=done.like,
    )


def turn(kept: Said) -> Turn:
    """A kept turn as what follows sees it: an abstention answered nothing."""
    return Turn(kept.question, "" if kept.abstained else kept.answer)
