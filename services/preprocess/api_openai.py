"""The REST door of OpenAI's clients: POST /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from ragline.errors import InvalidRequest, NotFound
from ragline.http import openai
from services.preprocess import api_embed
from services.preprocess.embed import PASSAGE, QUERY, Embedding, Embeddings
from services.preprocess.limits import Limits
from services.preprocess.loaded import Loaded

OWN = "ragline"


class EmbeddingsBody(BaseModel):
    """One text or a list of them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model": "all-MiniLM-L6-v2", "input": ["How is a lost message retried?"]},
                {"model": "ragline", "input": "How is a lost message retried?", "encoding_format": "base64"},
            ]
        },
    )

    input: Annotated[
        str | list[str] | list[int] | list[list[int]],
        Field(description="one text, or a list of texts; numbers of tokens are refused"),
    ]
    model: Annotated[str, Field(description="the embedder's name, or ragline")]
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Field(description="base64: of little-endian float32")
    ] = None
    dimensions: Annotated[int | None, Field(description="no other than the embedder's")] = None
    user: Annotated[str | None, Field(description="taken, without effect")] = None


class VectorBody(BaseModel):
    """A text's vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="of unit length, so a dot product is the cosine")


class ReadBody(BaseModel):
    """Word pieces read, special ones included."""

    prompt_tokens: int
    total_tokens: int


class VectorsBody(BaseModel):
    """Vectors in the order of the texts."""

    object: Literal["list"]
    data: list[VectorBody]
    model: str
    usage: ReadBody
    truncated: list[int] = Field(
        default=[],
        description="indices of the texts of which only the start was read; left out where there is none",
    )


def router(loaded: Loaded, limits: Limits) -> APIRouter:
    """The route, over running embedders; it stands under /v1."""
    routes = APIRouter(tags=["openai"])

    @routes.post(
        "/embeddings",
        response_model=None,
        responses={200: {"model": VectorsBody}},
        openapi_extra=openai.dialect(),
        summary="Embed texts, as OpenAI's clients expect it",
    )
    async def embeddings(body: EmbeddingsBody) -> Response:
        """The vectors of /embed."""
        embedding = named(body.model, loaded)
        texts = texts_of(body)
        api_embed.check(texts, limits, alone=isinstance(body.input, str))
        width = embedding.embedder.dimensions
        if body.dimensions not in {None, width}:
            raise InvalidRequest(
                f"dimensions is {body.dimensions}; {embedding.embedder.name} has {width} and is not cut.",
                field="dimensions",
            )
        lane = QUERY if len(texts) == 1 else PASSAGE
        result = await embedding.embed(texts, lane=lane, lasting=False)
        answer = told(result, packed=body.encoding_format == "base64")
        content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, media_type="application/json")

    return routes


def named(model: str, loaded: Loaded) -> Embedding:
    """The embedder of a name; raises NotFound."""
    for each in loaded.all:
        if model in {each.embedder.name, OWN}:
            return each
    there = ", ".join(each.embedder.name for each in loaded.all)
    raise NotFound(f"There is no embedding model {model[:200]!r}; there are {there}.", field="model")


def texts_of(body: EmbeddingsBody) -> list[str]:
    """The texts; raises InvalidRequest for tokens, as another tokenizer's numbers say nothing here."""
    if isinstance(body.input, str):
        return [body.input]
    texts = [each for each in body.input if isinstance(each, str)]
    if len(texts) < len(body.input):
        raise InvalidRequest(
            "input holds numbers of tokens, which only the tokenizer that made them can read; send texts "
            "(LangChain: check_embedding_ctx_length=False).",
            field="input",
        )
    return texts


def told(result: Embeddings, *, packed: bool) -> dict[str, Any]:
    """The vectors as the dialect has them."""
    rows = result.vectors.astype("<f4")
    vectors = [base64.b64encode(row.tobytes()).decode() for row in rows] if packed else list(rows)
    read = sum(result.tokens)
    answer: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
        "model": result.model,
        "usage": {"prompt_tokens": read, "total_tokens": read},
    }
    if any(result.truncated):
        answer["truncated"] = [at for at, cut in enumerate(result.truncated) if cut]
    return answer
