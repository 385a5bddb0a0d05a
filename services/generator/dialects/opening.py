"""Opens the doors for clients that speak another language than ours."""

from __future__ import annotations

import orjson
from fastapi import APIRouter

from ragline import context
from ragline.errors import Unavailable
from services.generator import asking, profiles
from services.generator.answer import Answerer
from services.generator.batches.doors import Door
from services.generator.dialects import chat, models, socket
from services.generator.dialects.models import Models
from services.generator.dialects.socket import Bounds, Parts
from services.generator.profiles import Known
from services.generator.room import Room
from services.generator.settings import Settings


def open_openai(settings: Settings, answerer: Answerer, limits: asking.Limits, preprocess: Door) -> APIRouter:
    """The routes of OpenAI's clients, to stand under /v1. Raises SettingsError for profiles that cannot be."""

    def prompt(name: str) -> bool:
        found = answerer.writing.prompts.find(name)
        return found is not None and found.task == "answer"

    known = Known(answerer.llms.names, prompt, settings.max_top_k, settings.max_answer_tokens)
    profiles.check(settings.profiles, known)

    async def embedder() -> str:
        return await embedder_of(preprocess)

    routes = APIRouter()
    routes.include_router(chat.router(answerer, limits, settings.profiles))
    routes.include_router(models.router(Models(answerer.sources, settings.profiles, embedder)))
    return routes


async def embedder_of(preprocess: Door) -> str:
    """The name of the embedding model, as whoever embeds a text is told; raises Unavailable."""
    answer = await preprocess.ask("embed", {"input": "?"}, context.request_id() or context.new_id())
    if not answer.ok:
        raise Unavailable(f"Preprocess said {answer.status} when asked for its model.")
    return str(orjson.loads(answer.content)["model"])


def open_chat(settings: Settings, answerer: Answerer, limits: asking.Limits) -> APIRouter:
    """The route of WebSockets."""
    bounds = Bounds(
        settings.max_chat_questions, settings.max_chat_message_kb, settings.max_chat_messages_per_minute
    )
    room = Room(settings.max_chats, "conversations", "GENERATOR_MAX_CHATS")
    return socket.router(Parts(answerer, limits, bounds, room))
