"""The OpenAI dialect, against llama.cpp's own server and against a server that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ragline.errors import InvalidRequest, RaglineError, TimedOut, TooLarge, Unavailable
from services.generator.llms import Parts, Piece, openai
from services.generator.prompt import Prompt
from tests.servers.llama import SLOTS, LlamaServer

ASK = Prompt("summary", "You are brief.", "Write a story about a lake.")


def parts(key: str | None = None, timeout_s: float = 60.0) -> Parts:
    return Parts(model=Path, api_key=SecretStr(key) if key else None, threads=1, timeout_s=timeout_s)


async def pieces(llm: openai.OpenAI, prompt: Prompt = ASK, max_tokens: int = 12) -> list[Piece]:
    async with aclosing(llm.generate(prompt, max_tokens=max_tokens, temperature=0)) as got:
        return [piece async for piece in got]


@pytest.mark.models
async def test_streams_with_usage_from_a_real_server(llama_server: LlamaServer) -> None:
    llm = openai.load(parts(llama_server.key), model="smol", base_url=llama_server.url)
    got = await pieces(llm)
    assert len([piece for piece in got if piece.text]) > 5
    assert got[-1].finish == "length"
    usage = got[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens > 10, usage.completion_tokens) == (True, 12)
    await llm.close()


@pytest.mark.models
async def test_leaving_frees_the_server(llama_server: LlamaServer) -> None:
    llm = openai.load(parts(llama_server.key), model="smol", base_url=llama_server.url)
    left = [llm.generate(ASK, max_tokens=1500, temperature=0) for _ in range(SLOTS)]
    for got in left:
        await anext(got)
    for got in left:
        await got.aclose()
    assert len(await pieces(llm, max_tokens=3)) >= 3  # its slots are free again
    await llm.close()


@pytest.mark.models
async def test_a_real_servers_refusals(llama_server: LlamaServer) -> None:
    llm = openai.load(parts("wrong"), model="smol", base_url=llama_server.url)
    with pytest.raises(Unavailable, match="key, model or base_url"):
        await pieces(llm)
    await llm.close()
    llm = openai.load(parts(llama_server.key), model="smol", base_url=llama_server.url)
    with pytest.raises(TooLarge, match="option context"):
        await pieces(llm, Prompt("summary", "", "water " * 4000))
    await llm.close()


async def test_no_server_is_unavailable() -> None:
    llm = openai.load(parts(), model="smol", base_url="http://127.0.0.1:1/v1", max_retries=0)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await pieces(llm)
    await llm.close()


CHUNK = {
    "id": "1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "Once"}, "finish_reason": None}],
}
FIRST = f"data: {json.dumps(CHUNK)}\n\n".encode()


async def completions(request: Request) -> Response:
    """Fails in the way that the requested model's name says."""
    asked = await request.json()
    match asked["model"]:
        case "busy":
            return JSONResponse({"error": {"message": "slow down"}}, 429, {"retry-after": "7"})
        case "broken":
            return JSONResponse({"error": {"message": "oops"}}, 500)
        case "strict":
            return JSONResponse({"error": {"message": "temperature is not supported"}}, 400)
        case "cut":
            return StreamingResponse(cut(), media_type="text/event-stream")
    return StreamingResponse(stuck(), media_type="text/event-stream")


async def cut() -> AsyncIterator[bytes]:
    yield FIRST
    raise ConnectionResetError


async def stuck() -> AsyncIterator[bytes]:
    yield FIRST
    await asyncio.Event().wait()


@asynccontextmanager
async def failing() -> AsyncIterator[str]:
    """The base URL of a server whose every answer is a failure."""
    app = Starlette(routes=[Route("/v1/chat/completions", completions, methods=["POST"])])
    config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=0, lifespan="off")
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        await server.shutdown()


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("busy", Unavailable),
        ("broken", Unavailable),
        ("strict", InvalidRequest),
        ("cut", Unavailable),
        ("stuck", TimedOut),
    ],
)
async def test_a_failing_server(model: str, error: type[RaglineError]) -> None:
    async with failing() as url:
        llm = openai.load(
            parts(timeout_s=0.5 if model == "stuck" else 60), model=model, base_url=url, max_retries=0
        )
        with pytest.raises(error) as raised:
            await pieces(llm)
        await llm.close()
    assert model in raised.value.detail or error is TimedOut
    if model == "busy":
        assert raised.value.retry_after_s == 7
    assert llm.slots.free == llm.slots.count
