import asyncio
import math
from typing import Any

import httpx
import pytest
import structlog

from ragline import context
from tests.ragline.shop import client, listening, shop


async def test_an_id_that_came_goes_back_and_reaches_the_work() -> None:
    async with client(shop()) as inside:
        answer = await inside.get("/do", headers={"x-request-id": "r-1.2_3"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "r-1.2_3"


@pytest.mark.parametrize("given_id", ["", "a b", "x" * 129, "a;b", "ü"])
async def test_an_id_that_is_none_is_replaced(given_id: str) -> None:
    async with client(shop()) as inside:
        answer = await inside.get("/do", headers={b"x-request-id": given_id.encode("latin-1")})
    made = answer.headers["x-request-id"]
    assert made != given_id
    assert context.accepted_id(made) == answer.json()["request_id"]


@pytest.mark.parametrize("path", ["/nope", "/do?n=x", "/healthz", "/readyz", "/", "/openapi.json", "/docs"])
async def test_every_answer_has_an_id(path: str) -> None:
    async with client(shop()) as inside:
        assert context.accepted_id((await inside.get(path)).headers["x-request-id"])


async def test_the_deadline_reaches_the_work() -> None:
    async with client(shop()) as inside:
        answer = await inside.get("/do", headers={"x-request-timeout-s": "12.5"})
        free = await inside.get("/do")
    assert 0 < answer.json()["remaining_s"] <= 12.5
    assert free.json()["remaining_s"] == -1


@pytest.mark.parametrize("bad", ["0", "-1", "x", "", "nan", "inf", "3601", "1 s", "9" * 5000])
async def test_a_deadline_that_is_none_is_refused(bad: str) -> None:
    async with client(shop()) as inside:
        answer = await inside.get("/do", headers={"x-request-timeout-s": bad})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "x-request-timeout-s"
    assert len(answer.content) < 1_000


async def test_work_past_its_deadline_is_cancelled_and_504() -> None:
    ended = asyncio.Event()

    async def do() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with client(shop(do)) as inside:
        answer = await inside.get("/do", headers={"x-request-timeout-s": "0.05"})
    assert ended.is_set()
    assert answer.status_code == 504
    assert "x-request-timeout-s" in answer.json()["detail"]


async def test_one_line_for_each_request_and_none_of_its_secrets() -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        async with client(shop()) as inside:
            await inside.get("/do?n=2&token=hunter2", headers={"x-request-id": "r1"})
            await inside.get("/nope", headers={"x-request-id": "r2"})
            await inside.get("/healthz", headers={"x-request-id": "r3"})
    lines = [line for line in logged if line["event"] == "request"]
    assert [(line["request_id"], line["method"], line["path"], line["status"]) for line in lines] == [
        ("r1", "GET", "/do", 200),
        ("r2", "GET", "/nope", 404),
        ("r3", "GET", "/healthz", 200),
    ]
    assert [line["log_level"] for line in lines] == ["info", "info", "debug"]
    assert all(line["ms"] >= 0 and not math.isnan(line["ms"]) for line in lines)
    assert "hunter2" not in str(logged)


async def test_work_for_a_client_that_left_is_cancelled() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def do() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    with structlog.testing.capture_logs() as logged:
        async with listening(shop(do)) as outside:
            asking = asyncio.create_task(outside.get("/do"))
            await started.wait()
            asking.cancel()
            await ended.wait()
            assert (await outside.get("/healthz")).status_code == 200
    assert [line["status"] for line in logged if line["event"] == "request"] == [499, 200]


async def test_a_client_that_stays_gets_its_answer() -> None:
    async def do() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    async with listening(shop(do)) as outside:
        answers = await asyncio.gather(*(outside.get("/do", params={"n": n + 1}) for n in range(50)))
    assert [answer.json()["n"] for answer in answers] == list(range(1, 51))
    assert len({answer.headers["x-request-id"] for answer in answers}) == 50


async def test_cancelling_from_outside_is_no_departure() -> None:
    started = asyncio.Event()

    async def do() -> None:
        started.set()
        await asyncio.Event().wait()

    async with client(shop(do)) as inside:
        asking = asyncio.create_task(inside.get("/do"))
        await started.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_crash_after_the_answer_began_breaks_it_off() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("dark")

    whole = shop()
    whole.mount("/half", app)
    async with listening(whole) as outside:
        with pytest.raises(httpx.RemoteProtocolError):
            await outside.get("/half/")
