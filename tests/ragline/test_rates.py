"""So many in a window that slides, in one process and over several."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st

from ragline import rates
from ragline.http import create_app
from ragline.rates import LocalRates, Rates
from ragline.settings import SettingsError
from tests.servers.redis import RedisServer


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 4)), max_size=60))
async def test_the_wait_it_names_is_enough_and_the_limit_holds(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    local = LocalRates(clock=clock)
    taken: list[tuple[float, int]] = []
    for pause, cost in steps:
        clock.now += pause
        wait = await local.take("key", limit=10, per_s=30, cost=cost)
        if wait:
            clock.now += wait + 1e-6
            assert await local.take("key", limit=10, per_s=30, cost=cost) == 0
        taken.append((clock.now, cost))
        # A fixed window never holds more than the limit; a sliding one is an estimate, and never twice as much.
        assert sum(n for at, n in taken if at // 30 == clock.now // 30) <= 10
        assert sum(n for at, n in taken if at > clock.now - 30) < 20


async def test_a_cost_over_the_limit_fits_once_all_is_free() -> None:
    local = LocalRates(clock=Clock())
    assert await local.take("key", limit=5, per_s=60, cost=9) == 0
    assert await local.take("key", limit=5, per_s=60) > 0
    assert await local.take("other", limit=5, per_s=60) == 0


async def test_keys_are_forgotten_beyond_the_bound() -> None:
    local = LocalRates(max_keys=10, clock=Clock())
    for n in range(100):
        await local.take(f"{n}", limit=1, per_s=60)
    assert len(local.windows) == 10


@pytest.fixture
def shared(redis_server: RedisServer) -> str:
    return f"{redis_server.url}?prefix={uuid.uuid4().hex}:&timeout_s=10"


async def test_replicas_share_one_limit(shared: str) -> None:
    replicas = [rates.open(shared) for _ in range(3)]
    # An hour: the counts of the test fall into one window but for one chance in very many, and then into two.
    waits = [await replicas[n % 3].take("key", limit=10, per_s=3600) for n in range(30)]
    assert 9 <= waits.count(0) <= 11
    assert all(0 < wait <= 7200 for wait in waits[-10:])
    for each in replicas:
        await each.close()


async def test_a_window_slides_in_redis_as_well(shared: str) -> None:
    counting = rates.open(shared)
    assert not await counting.take("key", limit=5, per_s=0.2, cost=5)
    async with asyncio.timeout(30):
        while (wait := await counting.take("key", limit=5, per_s=0.2)) > 0:
            assert wait <= 0.401
            await asyncio.sleep(wait)
    await counting.close()


async def test_without_redis_each_counts_for_itself(tmp_path: Path) -> None:
    counting = rates.open(RedisServer(tmp_path).url)
    waits = [await counting.take("key", limit=3, per_s=3600) for _ in range(6)]
    assert 3 <= waits.count(0) <= 4
    await counting.close()


@pytest.mark.parametrize("url", ["sqlite:///x", "memory://?max_keys=0", "memory://?max_mb=3", "redis://"])
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        rates.open(url)


def limited(counting: Rates) -> FastAPI:
    router = APIRouter()

    @router.get("/thing")
    async def thing() -> str:
        return "one"

    return create_app("test", [router], checks={}, per_minute=(counting, 3))


async def test_requests_beyond_the_limit_are_told_when_to_come_back() -> None:
    app = limited(LocalRates(clock=Clock()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answers = [await client.get(path) for path in ("/thing", "/v1/thing", "/nowhere", "/thing")]
        assert [each.status_code for each in answers] == [200, 200, 404, 429]
        assert answers[3].headers["content-type"] == "application/problem+json"
        assert 1 <= int(answers[3].headers["retry-after"]) <= 120
        assert "RAGLINE_MAX_REQUESTS_PER_MINUTE" in answers[3].json()["detail"]
        assert answers[3].headers["x-request-id"]
        for path in ("/healthz", "/readyz", "/metrics", "/", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
