"""The REST door of embedding."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from ragline import cache as caches
from ragline.http import create_app
from services.preprocess.api_embed import router
from services.preprocess.embed import Embedding
from services.preprocess.embedders.hashing import MAX_WORDS, Hashing
from services.preprocess.limits import Limits

LIMITS = Limits(max_inputs=4, max_chars=40_000)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    embedding = Embedding(Hashing(64), caches.open("memory://"))
    await embedding.start()
    app = create_app("preprocess", [router(embedding, LIMITS)], checks={"embedder": embedding.ready})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://preprocess") as opened:
        yield opened
    await embedding.close()


@pytest.mark.parametrize("path", ["/embed", "/v1/embed"])
@pytest.mark.parametrize("given", ["a cat", ["a cat"], ["a cat", "a dog", "a cat"]])
async def test_one_text_or_many_are_embedded(client: httpx.AsyncClient, path: str, given: str | list[str]) -> None:
    response = await client.post(path, json={"input": given})
    assert response.status_code == 200
    texts = [given] if isinstance(given, str) else given
    body = response.json()
    np.testing.assert_allclose(body["embeddings"], Hashing(64).embed(texts).vectors, atol=1e-7)
    assert body == {
        "embeddings": body["embeddings"],
        "model": "hashing-64",
        "dimensions": 64,
        "usage": {"tokens": 2 * len(texts)},
    }


async def test_texts_of_which_only_the_start_was_read_are_named(client: httpx.AsyncClient) -> None:
    response = await client.post("/embed", json={"input": ["short", "a b " * (MAX_WORDS // 2 + 1)]})
    assert response.json()["truncated"] == [1]
    assert response.json()["usage"] == {"tokens": 1 + MAX_WORDS}


async def test_the_word_pieces_of_each_text_are_told_where_asked_for(client: httpx.AsyncClient) -> None:
    response = await client.post("/embed", json={"input": ["one", "two words"], "explain": True})
    assert response.json()["explain"] == {"tokens": [1, 2]}


@pytest.mark.parametrize("text", ["\x00", "\u202eevil", "\u200b", "👩‍👩‍👧", " ", "字" * 300])
async def test_odd_texts_are_embedded(client: httpx.AsyncClient, text: str) -> None:
    assert (await client.post("/embed", json={"input": text})).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"input": ""}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": ["a", "", "c"]}, 400, "input[1]"),
        ({"input": ["a"] * 5}, 413, "input"),
        ({"input": "x" * 40_001}, 413, "input"),
        ({"input": ["a", "b", "c", "x" * 40_001]}, 413, "input[3]"),
        ({"input": 7}, 400, "input"),
        ({"input": ["a", 7]}, 400, "input[1]"),
        ({"input": None}, 400, "input"),
        ({}, 400, "input"),
        ({"input": "a", "model": "b"}, 400, "model"),
        ([], 400, None),
    ],
)
async def test_bad_input_names_the_field(
    client: httpx.AsyncClient, body: Any, status: int, field: str | None
) -> None:
    response = await client.post("/embed", json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert field in [error["field"] for error in response.json()["errors"]]


@pytest.mark.parametrize(
    ("given", "setting"), [(["a"] * 5, "PREPROCESS_MAX_INPUTS"), ("x" * 40_001, "PREPROCESS_MAX_CHARS")]
)
async def test_a_limit_is_named_by_its_setting(
    client: httpx.AsyncClient, given: str | list[str], setting: str
) -> None:
    assert setting in (await client.post("/embed", json={"input": given})).json()["detail"]


async def test_the_contract_says_what_is_read_of_long_texts(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"]["/embed"]["post"]
    assert str(MAX_WORDS) in operation["description"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["$ref"].endswith("EmbedResponse")
