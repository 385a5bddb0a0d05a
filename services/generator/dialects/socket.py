"""The WebSocket door: /chat, on which questions are asked and answered side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Never

import structlog
from fastapi import APIRouter, HTTPException, WebSocket
from starlette.websockets import WebSocketDisconnect

from ragline import context
from ragline.errors import Conflict, Forbidden, Internal, InvalidRequest, Overloaded, RaglineError
from ragline.http import origins
from ragline.http.limits import admit
from ragline.http.problems import encoded, problem
from ragline.http.sse import following
from ragline.http.websocket import RESTARTING, TOO_BIG
from ragline.metrics import gauge
from ragline.rates import LocalRates
from services.generator import asking, wire
from services.generator.answer import Answerer
from services.generator.api import question
from services.generator.dialects.messages import Ask, Cancel, Unread, read
from services.generator.events import Question
from services.generator.room import Room

KB = 1024

log = structlog.get_logger("ragline.access")


@dataclass(frozen=True)
class Bounds:
    """See the settings ``max_chat_questions``, ``max_chat_message_kb`` and ``max_chat_messages_per_minute``."""

    questions: int
    message_kb: int
    per_minute: int


@dataclass(frozen=True)
class Parts:
    """What every connection is handed; ``room`` bounds how many there are."""

    answerer: Answerer
    limits: asking.Limits
    bounds: Bounds
    room: Room


class Chat:
    """One connection."""

    def __init__(self, socket: WebSocket, parts: Parts, identity: str) -> None:
        self.socket, self.parts, self.identity = socket, parts, identity
        self.working: dict[str, asyncio.Task[None]] = {}
        self.rates = LocalRates(max_keys=1)
        self.asked = 0

    async def serve(self) -> None:
        """Take messages until the client leaves or the process stops; then let what is asked be answered."""
        await self.socket.accept(headers=[(b"x-request-id", self.identity.encode())])
        try:
            while True:
                message = await self.socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                text = message.get("text")
                if text is not None and len(text.encode("utf-8", "replace")) > self.parts.bounds.message_kb * KB:
                    await self.socket.close(TOO_BIG, "over GENERATOR_MAX_CHAT_MESSAGE_KB")
                    return
                await self.take(text)
            if message["code"] == RESTARTING and self.working:
                await asyncio.wait(self.working.values())
        except WebSocketDisconnect:
            return
        finally:
            await self.end()

    async def end(self) -> None:
        """Cancel what is still being answered, and close."""
        for task in self.working.values():
            task.cancel()
        await asyncio.gather(*self.working.values(), return_exceptions=True)
        try:
            await self.socket.close(RESTARTING)
        except (RuntimeError, WebSocketDisconnect):  # it is closed
            return

    async def take(self, text: str | None) -> None:
        """Do what a message says; what is wrong with it is told."""
        about = ""
        try:
            await self.admit()
            if text is None:
                raise InvalidRequest("Messages are JSON in text frames.", field="message")
            message = read(text)
            if isinstance(message, Ask):
                about = message.id if message.id not in self.working else ""
                await self.begin(message)
            elif isinstance(message, Cancel):
                await self.cancel(message.id)
            else:
                await self.send({"type": "pong"})
        except Unread as unread:
            await self.fail(unread.error, unread.id if unread.id not in self.working else "")
        except RaglineError as error:
            await self.fail(error, about)

    async def admit(self) -> None:
        """Count a message; raises Overloaded where there are too many."""
        limit = self.parts.bounds.per_minute
        wait_s = await self.rates.take("messages", limit=limit, per_s=60)
        if wait_s:
            raise Overloaded(
                f"There were {limit} messages within a minute on this connection, as many as "
                "GENERATOR_MAX_CHAT_MESSAGES_PER_MINUTE allows; come back later.",
                retry_after_s=wait_s,
            )

    async def begin(self, message: Ask) -> None:
        """Begin to answer; raises Conflict or Overloaded."""
        if message.id in self.working:
            raise Conflict(f"{message.id} is being answered; give each question an id of its own.", field="id")
        if len(self.working) >= self.parts.bounds.questions:
            raise Overloaded(
                f"{len(self.working)} questions of this connection are being answered, as many as "
                "GENERATOR_MAX_CHAT_QUESTIONS allows; wait for one, or cancel it."
            )
        await admit(self.socket.scope)
        asked = asking.question(question(message), self.parts.limits)
        self.asked += 1
        identity = f"{self.identity}.{self.asked}"
        task = asyncio.create_task(self.answer(message, asked, identity))
        self.working[message.id] = task
        task.add_done_callback(lambda _: self.working.pop(message.id))

    async def cancel(self, about: str) -> None:
        """End an answer; one that has ended already stays as it is."""
        if task := self.working.get(about):
            task.cancel()
            await asyncio.wait({task})
            if task.cancelled():
                await self.send({"type": "cancelled", "id": about})

    async def answer(self, message: Ask, asked: Question, identity: str) -> None:
        """Send the events of an answer."""
        with context.bind(identity, message.timeout_s):
            try:
                async with aclosing(self.parts.answerer.stream(asked)) as events:
                    told = (wire.event(event) async for event in events)
                    while (event := await following(told)) is not None:
                        await self.send({"type": event[0], "id": message.id, "data": event[1]})
            except RaglineError as error:
                await self.fail(error, message.id)
            except WebSocketDisconnect:
                return
            except Exception:  # the outermost boundary: nobody else tells the client
                log.exception("crashed", path=self.socket.url.path)
                await self.fail(Internal(), message.id)

    async def fail(self, error: RaglineError, about: str) -> None:
        """Tell what went wrong: with a question, or with a message where ``about`` is empty."""
        body = error.problem(context.request_id())
        if error.retry_after_s is not None:
            body["retry_after_s"] = round(error.retry_after_s, 3)
        await self.send({"type": "error", **({"id": about} if about else {}), "data": body})

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; waits while the client does not read."""
        await self.socket.send_text(encoded(message).decode())


def router(parts: Parts) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["generator"])
    open_now = gauge("ragline_chats_open", "WebSocket connections that are open.")

    @routes.websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        given = context.accepted_id(socket.headers.get("x-request-id"))
        with context.bind(given or context.new_id()) as identity:
            began = time.perf_counter()
            conversation = Chat(socket, parts, identity)
            try:
                if not origins.may_connect(socket.app, socket.headers):
                    raise Forbidden(
                        "Pages of this origin may not connect; RAGLINE_CORS_ORIGINS names those that may."
                    )
                with parts.room.enter(), open_now.track_inprogress():
                    await conversation.serve()
            except RaglineError as error:
                await socket.send_denial_response(problem(error))
            finally:
                seconds = time.perf_counter() - began
                log.info("chat", path=socket.url.path, asked=conversation.asked, s=round(seconds, 3))

    @routes.get("/chat", status_code=426, summary="Ask over a WebSocket", response_model=None)
    async def upgrade() -> Never:
        """Open a WebSocket here and send `{"type": "ask", "id": "q1", "query": "…"}` with what /generate has.

        The events of /generate come back as `{"type": "token", "id": "q1", "data": {…}}`; an answer without `done`
        failed. `{"type": "cancel", "id": "q1"}` ends one, `{"type": "ping"}` is answered by `pong`. Several may be
        asked at once. When the service stops it answers what was asked and closes with 1012.
        """
        raise HTTPException(426, "Open a WebSocket here; GET /docs says how.", {"Upgrade": "websocket"})

    return routes
