"""The door of OpenAI's clients, asked over HTTP by their own client."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from ragline import cache as caches
from ragline.http import create_app
from ragline.http import openai as dialect
from ragline.http.server import HttpServer
from services.preprocess.api_embed import router as native
from services.preprocess.api_openai import router
from services.preprocess.embed import Embedding
from services.preprocess.embedders.hashing import MAX_WORDS, Hashing
from services.preprocess.limits import Limits
from services.preprocess.loaded import Loaded

LIMITS = Limits(max_inputs=4, max_chars=40_000)
MODEL = "hashing-64"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    loaded = Loaded(
        Embedding(Hashing(64), caches.open("memory://")), Embedding(Hashing(32), caches.open("memory://"))
    )
    await loaded.start()
    app = create_app("preprocess", [native(loaded.first, LIMITS)], checks={}, max_body_mb=1)
    dialect.speak(app, [router(loaded, LIMITS)])
    server = HttpServer(app, "127.0.0.1", 0)
    yield await server.start()
    await server.stop(5)
    await loaded.close()


@pytest.fixture
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as opened:
        yield opened


@pytest.mark.parametrize("given", ["a cat", ["a cat"], ["a cat", "a dog", "a cat"]])
async def test_vectors_are_those_of_embed(client: openai.AsyncOpenAI, url: str, given: str | list[str]) -> None:
    """The client asks for base64 by itself, and unpacks it."""
    made = await client.embeddings.create(model=MODEL, input=given)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as plain:
        own = (await plain.post("/embed", json={"input": given})).json()
        packed = await plain.post(
            "/v1/embeddings", json={"model": "ragline", "input": given, "encoding_format": "base64"}
        )
    np.testing.assert_allclose([each.embedding for each in made.data], own["embeddings"], atol=1e-7)
    assert [each.index for each in made.data] == list(range(len(own["embeddings"])))
    assert (made.object, made.model) == ("list", MODEL)
    assert made.usage.total_tokens == made.usage.prompt_tokens == own["usage"]["tokens"]
    rows = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in packed.json()["data"]]
    np.testing.assert_allclose(rows, own["embeddings"], atol=1e-7)
    plainly = await client.embeddings.create(model=MODEL, input=given, encoding_format="float", dimensions=64)
    np.testing.assert_allclose([each.embedding for each in plainly.data], own["embeddings"], atol=1e-7)


async def test_the_embedder_that_follows_has_its_name_too(client: openai.AsyncOpenAI) -> None:
    made = await client.embeddings.create(model="hashing-32", input="a cat", user="u")
    assert (made.model, len(made.data[0].embedding)) == ("hashing-32", 32)


async def test_texts_of_which_only_the_start_was_read_are_named(client: openai.AsyncOpenAI) -> None:
    made = await client.embeddings.create(model=MODEL, input=["short", "a b " * (MAX_WORDS // 2 + 1)])
    assert (made.model_extra or {})["truncated"] == [1]


@pytest.mark.parametrize(
    ("change", "kind", "param", "says"),
    [
        ({"model": "text-embedding-3-small"}, openai.NotFoundError, "model", "there are hashing-64, hashing-32"),
        ({"input": [1, 2, 3]}, openai.BadRequestError, "input", "check_embedding_ctx_length=False"),
        ({"input": [[1, 2], [3]]}, openai.BadRequestError, "input", "check_embedding_ctx_length=False"),
        ({"input": []}, openai.BadRequestError, "input", "empty"),
        ({"input": ""}, openai.BadRequestError, "input", "empty"),
        ({"input": ["a", ""]}, openai.BadRequestError, "input[1]", "empty"),
        ({"input": ["a"] * 5}, openai.APIStatusError, "input", "PREPROCESS_MAX_INPUTS"),
        ({"input": "a" * 40_001}, openai.APIStatusError, "input", "PREPROCESS_MAX_CHARS"),
        ({"input": {"text": "a"}}, openai.BadRequestError, "input", "valid"),
        ({"dimensions": 32}, openai.BadRequestError, "dimensions", "has 64"),
        ({"encoding_format": "int8"}, openai.BadRequestError, "encoding_format", "base64"),
        ({"extra_body": {"truncate": "END"}}, openai.BadRequestError, "truncate", "not permitted"),
    ],
)
async def test_bad_input_raises_and_names_the_parameter(
    client: openai.AsyncOpenAI, change: dict[str, Any], kind: type[openai.APIStatusError], param: str, says: str
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "input": "a cat", **change}
    with pytest.raises(kind, match=says.replace("[", r"\[")) as raised:
        await client.embeddings.create(**asked)
    assert raised.value.param == param


async def test_it_stands_under_v1_alone_with_examples(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.post("/embeddings", json={"input": "a"})).status_code == 404
        schema = (await client.get("/openapi.json")).json()
        assert "/v1/embeddings" in schema["paths"]
        assert len(schema["components"]["schemas"]["EmbeddingsBody"]["examples"]) == 2
        big = await client.post("/v1/embeddings", json={"input": "a" * 1_100_000})
        assert big.json()["error"]["code"] == "too_large"
