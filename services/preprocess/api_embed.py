"""The REST door of embedding: POST /embed."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from ragline.errors import InvalidRequest
from services.preprocess.embed import PASSAGE, QUERY, Embedding
from services.preprocess.limits import Limits


class EmbedRequest(BaseModel):
    """One text or a list of them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"input": ["How is a lost message retried?", "Messages are kept on disk."]}]
        },
    )

    input: str | list[str] = Field(description="one text, or a list of texts; none of them empty")
    explain: bool = Field(False, description="tell the word pieces read of each text")


class Usage(BaseModel):
    """What was read."""

    tokens: int = Field(description="word pieces read, special ones included, over all texts")


class EmbedExplained(BaseModel):
    """What was read of each text, in the order of the texts."""

    tokens: list[int] = Field(description="word pieces, special ones included")


class EmbedResponse(BaseModel):
    """Vectors in the order of the texts."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "embeddings": [[0.0123, -0.0456, 0.0789]],
                    "model": "all-MiniLM-L6-v2",
                    "dimensions": 384,
                    "usage": {"tokens": 9},
                }
            ]
        }
    )

    embeddings: list[list[float]] = Field(description="unit vectors, so a dot product is the cosine")
    model: str
    dimensions: int
    usage: Usage
    truncated: list[int] = Field(
        default=[],
        description="indices of the texts of which only the start was read; left out where there is none",
    )
    explain: EmbedExplained | None = Field(None, description="only where asked for")


def router(embedding: Embedding, limits: Limits) -> APIRouter:
    """The route, over a running use case."""
    routes = APIRouter(tags=["embed"])
    most = embedding.embedder.max_tokens

    @routes.post(
        "/embed",
        response_model=None,
        responses={200: {"model": EmbedResponse}},
        summary="Embed texts",
        description=(
            f"Turns up to {limits.max_inputs} texts of up to {limits.max_chars} characters into unit vectors. "
            f"Of a text longer than {most} word pieces only the first {most} are read; `truncated` then names it."
        ),
    )
    async def embed(request: EmbedRequest) -> Response:
        """Embed; a single text goes ahead of lists."""
        alone = isinstance(request.input, str)
        texts = [request.input] if isinstance(request.input, str) else request.input
        check(texts, limits, alone=alone)
        lane = QUERY if len(texts) == 1 else PASSAGE
        result = await embedding.embed(texts, lane=lane, lasting=False)
        body: dict[str, Any] = {
            "embeddings": result.vectors,
            "model": result.model,
            "dimensions": result.dimensions,
            "usage": {"tokens": sum(result.tokens)},
        }
        if any(result.truncated):
            body["truncated"] = [at for at, cut in enumerate(result.truncated) if cut]
        if request.explain:
            body["explain"] = {"tokens": result.tokens}
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, media_type="application/json")

    return routes


def check(texts: list[str], limits: Limits, *, alone: bool) -> None:
    """Raise InvalidRequest for nothing to embed, TooLarge for too much."""
    if not texts:
        raise InvalidRequest("input is an empty list; send at least one text.", field="input")
    limits.check(texts, field="input", alone=alone)
    for at, text in enumerate(texts):
        if not text:
            field = "input" if alone else f"input[{at}]"
            raise InvalidRequest(f"{field} is empty; leave it out or send a text.", field=field)
