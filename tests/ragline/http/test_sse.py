import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import structlog

from ragline.errors import Internal, NotFound, RaglineError, TimedOut, Unavailable
from tests.ragline.shop import client, listening, shop

Events = AsyncIterator[tuple[str, dict[str, Any]]]


async def three() -> Events:
    yield "passages", {"n": 1}
    yield "token", {"text": "line\nbreak ü"}
    yield "done", {}


def parsed(text: str) -> list[tuple[str, Any]]:
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append((fields["event"], orjson.loads(fields["data"])))
    return events


async def test_typed_events_one_line_of_data_each() -> None:
    async with client(shop(events=three)) as inside:
        answer = await inside.get("/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text.startswith('event: passages\ndata: {"n":1}\n\nevent: token\n')
    assert parsed(answer.text) == [("passages", {"n": 1}), ("token", {"text": "line\nbreak ü"}), ("done", {})]


async def test_what_fails_before_the_first_event_has_a_status_of_its_own() -> None:
    async def events() -> Events:
        raise NotFound("There is no collection x; there are a, b.")
        yield "token", {}  # type: ignore[unreachable]  # makes it a generator

    async with client(shop(events=events)) as inside:
        answer = await inside.get("/stream")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("There is no collection x")


def retry(error: RaglineError) -> dict[str, float]:
    return {} if error.retry_after_s is None else {"retry_after_s": error.retry_after_s}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unavailable("The model is gone."), Unavailable("The model is gone.")),
        (RuntimeError("hunter2"), Internal()),
    ],
)
async def test_what_fails_later_is_the_last_event(error: Exception, told: Any) -> None:
    async def events() -> Events:
        yield "token", {"text": "a"}
        raise error

    with structlog.testing.capture_logs() as logged:
        async with client(shop(events=events)) as inside:
            answer = await inside.get("/stream", headers={"x-request-id": "r1"})
    assert answer.status_code == 200
    assert parsed(answer.text) == [("token", {"text": "a"}), ("error", told.problem("r1") | retry(told))]
    assert any(line["event"] == "crashed" for line in logged) == isinstance(error, RuntimeError)


async def test_a_deadline_ends_a_stream_in_order() -> None:
    ended = asyncio.Event()

    async def events() -> Events:
        try:
            yield "token", {"text": "a"}
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with client(shop(events=events)) as inside:
        answer = await inside.get("/stream", headers={"x-request-timeout-s": "0.1"})
    assert ended.is_set()
    first, (name, problem) = parsed(answer.text)
    assert first == ("token", {"text": "a"})
    assert (name, problem["status"]) == ("error", TimedOut.http_status)


async def test_a_deadline_before_the_first_event_is_504() -> None:
    async def events() -> Events:
        await asyncio.Event().wait()
        yield "token", {}

    async with client(shop(events=events)) as inside:
        assert (await inside.get("/stream", headers={"x-request-timeout-s": "0.05"})).status_code == 504


async def test_no_event_at_all_is_an_empty_stream() -> None:
    async with client(shop()) as inside:
        answer = await inside.get("/stream")
    assert (answer.status_code, answer.text) == (200, "")


async def test_a_silent_stream_has_heartbeats() -> None:
    go = asyncio.Event()

    async def events() -> Events:
        yield "token", {"text": "a"}
        await go.wait()
        yield "done", {}

    lines = []
    async with (
        listening(shop(events=events, heartbeat_s=0.02)) as outside,
        outside.stream("GET", "/stream") as answer,
    ):
        async for line in answer.aiter_lines():
            lines.append(line)
            if lines.count(": heartbeat") == 2:
                go.set()
    assert "event: done" in lines


async def test_events_arrive_as_they_happen() -> None:
    go = asyncio.Event()

    async def events() -> Events:
        yield "token", {"text": "a"}
        await go.wait()
        yield "done", {}

    async with listening(shop(events=events)) as outside, outside.stream("GET", "/stream") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: token"
        go.set()
        assert "event: done" in [line async for line in lines]


@pytest.mark.parametrize("busy", [False, True])
async def test_the_work_ends_when_the_client_leaves(busy: bool) -> None:
    ended = asyncio.Event()

    async def events() -> Events:
        try:
            while True:
                yield "token", {"text": "a" * 1000}
                if not busy:
                    await asyncio.Event().wait()
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with listening(shop(events=events)) as outside:
        async with outside.stream("GET", "/stream") as answer:
            assert await anext(answer.aiter_lines()) == "event: token"
        await ended.wait()


async def test_the_work_ends_when_the_client_leaves_before_the_first_event() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def events() -> Events:
        try:
            started.set()
            await asyncio.Event().wait()
            yield "token", {}
        finally:
            ended.set()

    async with listening(shop(events=events)) as outside:
        asking = asyncio.create_task(outside.get("/stream"))
        await started.wait()
        asking.cancel()
        await ended.wait()
