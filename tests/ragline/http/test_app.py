import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import APIRouter, FastAPI

import ragline
from ragline.errors import Unavailable
from ragline.http import create_app, ready
from ragline.http.problems import MEDIA_TYPE
from ragline.http.server import HttpServer
from ragline.settings import SettingsError
from tests.ragline.shop import client, listening, nothing, shop


async def test_routes_exist_bare_and_under_v1() -> None:
    async with client(shop()) as inside:
        for path in ("/do", "/v1/do"):
            assert (await inside.get(path)).json()["n"] == 1


async def test_the_description_lists_each_route_once_and_says_what_errors_look_like() -> None:
    async with client(shop()) as inside:
        schema = (await inside.get("/openapi.json")).json()
    assert set(schema["paths"]) == {"/documents", "/files", "/lines", "/do", "/stream", "/healthz", "/readyz"}
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    for operation in operations:
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
        assert "422" not in operation["responses"]
    content = schema["components"]["responses"]["Problem"]["content"]
    assert content == {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    schemas = schema["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    for name in referenced(json.dumps(schema)):
        assert name in schemas


def referenced(text: str) -> set[str]:
    return {part.split('"', 1)[0] for part in text.split('"#/components/schemas/')[1:]}


async def test_the_index_says_what_this_is() -> None:
    async with client(shop()) as inside:
        answer = (await inside.get("/")).json()
    assert answer == {"name": "shop", "version": ragline.__version__, "docs": "/docs", "openapi": "/openapi.json"}


async def test_living_and_ready_are_two_things() -> None:
    up = asyncio.Event()

    async def store() -> None:
        if not up.is_set():
            raise Unavailable("The store is opening.")

    async def broken() -> None:
        if not up.is_set():
            raise RuntimeError("password=hunter2")

    async with client(shop(checks={"store": store, "broken": broken, "model": nothing})) as inside:
        assert (await inside.get("/healthz")).json() == {"status": "ok"}
        before = await inside.get("/readyz")
        up.set()
        after = await inside.get("/readyz")
    assert before.status_code == 503
    assert before.headers["content-type"] == MEDIA_TYPE
    assert before.headers["retry-after"] == "1"
    assert before.json()["detail"] == "Not ready: broken, store."
    assert before.json()["checks"] == {
        "store": "The store is opening.",
        "broken": "failed; the log says why",
        "model": "ok",
    }
    assert after.status_code == 200
    assert after.json() == {"status": "ready", "checks": {"store": "ok", "broken": "ok", "model": "ok"}}


async def test_a_check_that_does_not_answer_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "CHECK_TIMEOUT_S", 0.05)

    async def stuck() -> None:
        await asyncio.Event().wait()

    assert await ready.run_all({"stuck": stuck, "model": nothing}) == {
        "stuck": "no answer within 0.05 s",
        "model": "ok",
    }


async def test_a_lifespan_runs_around_the_serving() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    async with listening(create_app("shop", [APIRouter()], checks={}, lifespan=lifespan)) as outside:
        await outside.get("/healthz")
        assert seen == ["up"]
    assert seen == ["up", "down"]


async def test_a_port_in_use_is_a_sentence_that_names_it() -> None:
    first = HttpServer(shop(), "127.0.0.1", 0)
    await first.start()
    second = HttpServer(shop(), "127.0.0.1", first.port, setting="SHOP_PORT")
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{first.port}: address already in use; set SHOP_PORT"):
        await second.start()
    await second.stop(0)
    await first.stop(0)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
async def test_a_host_that_is_not_here_is_a_sentence(host: str) -> None:
    with pytest.raises(SettingsError, match=f"Cannot listen on {host}"):
        await HttpServer(shop(), host, 0).start()


async def test_stopping_lets_the_requests_in_flight_end() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def do() -> None:
        arrived.set()
        await go.wait()

    server = HttpServer(shop(do), "127.0.0.1", 0)
    url = await server.start()
    async with httpx.AsyncClient(base_url=url) as outside:
        asking = asyncio.create_task(outside.get("/do"))
        await arrived.wait()
        stopping = asyncio.create_task(server.stop(20))
        go.set()
        assert (await asking).status_code == 200
        await stopping


async def test_the_api_pages_need_no_other_host() -> None:
    app = create_app("shop", [], checks={})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        page = (await client.get("/docs")).text
        places = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert places
        for place in places:
            assert place.startswith("/")
            assert (await client.get(place)).status_code == 200
