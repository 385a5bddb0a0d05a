"""The REST door of OpenAI's clients: POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

import orjson
from fastapi import APIRouter, Response

from ragline import context
from ragline.errors import NotFound
from ragline.http import EVENT_STREAM, openai
from services.generator import asking
from services.generator.answer import Answerer
from services.generator.api import TENANT
from services.generator.dialects.asked import question
from services.generator.dialects.bodies import ChatBody
from services.generator.dialects.told import PREFIX, CompletionBody, Telling
from services.generator.profiles import Profiles

E = TypeVar("E")

NAMES = {
    "query": "messages",
    "turns": "messages",
    "instructions": "messages",
    "collection": "model",
    "schema": "response_format",
    **{name: f"ragline.{name}" for name in ("top_k", "filter", "mode", "scorer", "llm", "prompt", "expand")},
}


def router(answerer: Answerer, limits: asking.Limits, profiles: Profiles) -> APIRouter:
    """The route; it stands under /v1."""
    routes = APIRouter(tags=["openai"])

    @routes.post(
        "/chat/completions",
        response_model=None,
        responses={200: {"model": CompletionBody, **EVENT_STREAM}},
        openapi_extra=openai.dialect(**NAMES),
        summary="Answer the last message from a collection, as OpenAI's clients expect it",
    )
    async def complete(body: ChatBody) -> Response:
        """The answer of /generate, with its citations in `message.citations`.

        With `stream`: chunks, the citations in their deltas, and at last one with `finish_reason` and `ragline`,
        then `[DONE]`; a stream that fails ends with an error object and without it.
        """
        asked = question(body, profiles, limits, TENANT)
        telling = Telling(
            body.model,
            PREFIX + context.new_id(),
            passages=bool(body.ragline and body.ragline.passages),
            usage=bool(body.stream_options and body.stream_options.include_usage),
        )
        if body.stream:
            return openai.chunks(telling.chunks(naming(answerer.stream(asked))), NAMES)
        # What breaks off before it is whole is made anew, unseen.
        whole = await telling.whole(naming(answerer.events(asked)))
        return Response(orjson.dumps(whole), media_type="application/json")

    return routes


async def naming(events: AsyncGenerator[E, None]) -> AsyncGenerator[E, None]:
    """The events of an answer; NotFound says that it is of the model, as that names the collection."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except NotFound as error:
        raise NotFound(error.detail, field="model") from None
