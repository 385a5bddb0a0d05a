"""A small application over the kit's REST door, for its tests."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Query, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ragline import context
from ragline.http import create_app, sse
from ragline.http.server import HttpServer

LINES = {"mb": 2, "setting": "SHOP_MAX_LINES_MB"}

Do = Callable[[], Awaitable[Any]]


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    metadata: dict[str, Any] = {}

    @field_validator("text")
    @classmethod
    def no_nul(cls, text: str) -> str:
        if "\0" in text:
            raise ValueError("The text holds a NUL; leave it out.")
        return text


class Upload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: list[Document] = Field(max_length=1000)
    input: str | list[str] | None = None


async def nothing() -> None:
    return None


async def none() -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    nothing_at_all: list[tuple[str, Mapping[str, Any]]] = []
    for event in nothing_at_all:
        yield event


def shop(do: Do = nothing, events: Callable[[], AsyncIterator[Any]] = none, **options: Any) -> FastAPI:
    router = APIRouter()

    @router.post("/documents")
    async def documents(upload: Upload) -> dict[str, Any]:
        return {"documents": [document.metadata for document in upload.documents], "input": upload.input}

    @router.post("/files")
    async def files(files: list[UploadFile]) -> dict[str, int]:
        return {file.filename or "": len(await file.read()) for file in files}

    @router.post("/lines", openapi_extra={"x-body-limit": LINES, "requestBody": {"content": {"text/x-lines": {}}}})
    async def lines(request: Request) -> dict[str, int]:
        return {"bytes": sum([len(part) async for part in request.stream()])}

    @router.get("/do")
    async def act(n: int = Query(1, ge=1)) -> dict[str, Any]:
        await do()
        return {"n": n, "request_id": context.request_id(), "remaining_s": context.remaining_s(-1)}

    @router.get("/stream")
    async def stream(request: Request) -> Response:
        return sse(events(), heartbeat_s=options.get("heartbeat_s", 10))

    kept = {name: value for name, value in options.items() if name != "heartbeat_s"}
    return create_app("shop", [router], **{"checks": {}, **kept})


@asynccontextmanager
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the application in process."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as inside:
        yield inside


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the application over a real socket."""
    server = HttpServer(app, "127.0.0.1", 0)
    url = await server.start()
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60) as outside:
            yield outside
    finally:
        await server.stop(1)
