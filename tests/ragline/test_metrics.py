"""What is counted, and the page that says so."""

import asyncio
import re

import httpx
import pytest
from fastapi import APIRouter, FastAPI

import ragline.cache
from ragline import metrics
from ragline.errors import NotFound, Unavailable
from ragline.http import create_app


@pytest.fixture
def app() -> FastAPI:
    router = APIRouter()

    @router.get("/things/{name}")
    async def thing(name: str) -> str:
        if name == "none":
            raise NotFound("There is no such thing.")
        return name

    return create_app("test", [router], checks={})


async def ask(app: FastAPI, *paths: str) -> list[httpx.Response]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return [await client.get(path) for path in paths]


def value(page: str, series: str) -> float:
    """The value of a series; 0 where it is not there yet."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def page() -> str:
    return (await metrics.page())[0].decode()


async def test_requests_are_counted_by_route_and_never_by_path(app: FastAPI) -> None:
    def series(route: str, status: int) -> str:
        return f'{{method="GET",route="{route}",status="{status}"}}'

    wanted = [("/things/{name}", 200, 4), ("/things/{name}", 404, 1), ("unmatched", 404, 2)]
    before = await page()
    await ask(app, "/things/a", "/things/b", "/things/c", "/things/none", "/v1/things/a", "/x/told-nobody", "/y")
    after = await page()
    assert "told-nobody" not in after
    for route, status, count in wanted:
        for name in ("ragline_http_requests_total", "ragline_http_request_seconds_count"):
            one = name + series(route, status)
            assert value(after, one) - value(before, one) == count, one
    assert value(after, "ragline_http_requests_inflight") == value(before, "ragline_http_requests_inflight")


async def test_a_method_that_nobody_knows_makes_no_series_of_its_own(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        await client.request("BREW", "/things/a")
    assert "BREW" not in await page()


async def test_the_page_is_there_as_text_and_not_in_the_description(app: FastAPI) -> None:
    told, described = await ask(app, "/metrics", "/openapi.json")
    assert told.status_code == 200
    assert told.headers["content-type"].startswith("text/plain")
    assert "# TYPE ragline_http_requests_total counter" in told.text
    assert "process_resident_memory_bytes" in told.text
    assert "/metrics" not in described.json()["paths"]


async def test_values_are_asked_for_when_the_page_is_read() -> None:
    depth = metrics.gauge("ragline_test_depth", "Only here.", ("queue",))

    async def refresh() -> None:
        depth.labels("ingest").set(7)

    end = metrics.on_read(refresh)
    assert 'ragline_test_depth{queue="ingest"} 7.0' in await page()
    depth.labels("ingest").set(0)
    end()
    assert 'ragline_test_depth{queue="ingest"} 0.0' in await page()


async def test_a_value_that_cannot_be_had_takes_no_other_from_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REFRESH_S", 0.01)

    async def fail() -> None:
        raise Unavailable("away")

    async def hang() -> None:
        await asyncio.Event().wait()

    ends = [metrics.on_read(fail), metrics.on_read(hang)]
    assert "process_resident_memory_bytes" in await page()
    for end in ends:
        end()


async def test_a_cache_with_a_name_counts_hits_and_misses() -> None:
    cache = ragline.cache.open("memory://", name="test")
    await cache.set_many({"a": b"1", "b": b"2"})
    assert await cache.get_many(["a", "b", "c"]) == [b"1", b"2", None]
    assert await cache.get_many(["a"]) == [b"1"]
    assert await cache.claim("work", 60)
    assert not await cache.claim("work", 60)
    await cache.release("work")
    await cache.delete_many(["a"])
    assert await cache.get_many(["a"]) == [None]
    await cache.close()
    told = await page()
    assert value(told, 'ragline_cache_reads_total{cache="test",result="hit"}') == 3
    assert value(told, 'ragline_cache_reads_total{cache="test",result="miss"}') == 2
    assert value(told, 'ragline_cache_writes_total{cache="test"}') == 2
