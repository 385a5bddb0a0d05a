"""Pages of other origins: which may call, and that failures can be read there, too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.datastructures import Headers

from ragline.errors import Overloaded
from ragline.http import create_app
from ragline.http.origins import allow, may_connect
from ragline.settings import SettingsError, load
from tests.env_example import CLASSES

PAGE = "https://app.example.com"


def app(origins: str) -> FastAPI:
    routes = APIRouter()

    @routes.get("/full")
    async def full() -> None:
        raise Overloaded("Full.", retry_after_s=3)

    made = create_app("test", [routes], checks={})
    allow(made, origins)
    return made


async def client(origins: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app(origins)), base_url="http://test") as opened:
        yield opened


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [("", None), ("https://b.example", None), (f"https://b.example, {PAGE}/", PAGE), ("*", "*")],
)
async def test_only_named_origins_may_read(origins: str, allowed: str | None) -> None:
    async for http in client(origins):
        refused = await http.get("/full", headers={"origin": PAGE})
        assert refused.status_code == 429
        assert refused.headers.get("access-control-allow-origin") == allowed
        asked = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "x-a"}
        first = await http.options("/full", headers=asked)
        assert first.headers.get("access-control-allow-origin") == allowed
        if allowed:
            assert first.status_code == 200
            assert first.headers["access-control-allow-headers"] == "x-a"
            assert "Retry-After" in refused.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in refused.headers


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({}, True),
        ({"origin": "http://here:8000", "host": "here:8000"}, True),
        ({"origin": "http://evil.example", "host": "here:8000"}, False),
        ({"origin": "null", "host": "here:8000"}, False),
        ({"origin": PAGE, "host": "here:8000"}, True),
        ({"origin": "http://app.example.com", "host": "here:8000"}, False),
    ],
)
def test_who_may_open_a_websocket(headers: dict[str, str], *, may: bool) -> None:
    assert may_connect(app(PAGE), Headers(headers)) is may


@pytest.mark.parametrize("given", ["app.example.com", "https://a/b", "ftp://a", "https://a,b"])
def test_what_is_no_origin_stops_the_start(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLINE_CORS_ORIGINS", given)
    with pytest.raises(SettingsError, match="RAGLINE_CORS_ORIGINS"):
        load(CLASSES[0])
