"""Gives a question the turns before it and a query that stands alone, and remembers what was answered."""

from __future__ import annotations

import time
from dataclasses import replace

import structlog

from ragline.errors import Unavailable
from services.generator.conversations.sessions import Said, Sessions
from services.generator.conversations.standalone import Standalone
from services.generator.events import Done, Question, Turn

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
                said = await self.sessions.latest(question.tenant, question.session_id, self.max_turns)
                question = replace(question, turns=tuple(map(turn, said)))
            except Unavailable as error:
                log.warning("answering without the session", reason=error.detail)
                degraded = AWAY
        query = await self.standalone.rewrite(question, question.turns)
        return replace(question, query=query), degraded

    async def end(self, question: Question, done: Done) -> tuple[str, ...]:
        """Remember the question, as it was asked, and its answer; returns what was away."""
        if not question.session_id:
            return ()
        said = Said(question.query, done.outcome.answer, done.outcome.abstained, done.query, done.id, time.time())
        try:
            await self.sessions.add(question.tenant, question.session_id, said)
        except Unavailable as error:
            log.warning("the session lacks a turn", reason=error.detail)
            return AWAY
        return ()


def turn(said: Said) -> Turn:
    """A kept turn as what follows sees it: an abstention answered nothing."""
    return Turn(said.question, "" if said.abstained else said.answer)
