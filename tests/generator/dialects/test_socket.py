"""WebSockets over HTTP with the websockets package: ask, cancel, ping, bounds, and the end of the process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.generator import world
from tests.generator.dialects.place import BOUNDS, KESTREL, Served, said, serving


def ask(name: str, query: str = KESTREL, **more: Any) -> str:
    return json.dumps({"type": "ask", "id": name, "query": query, **more})


@pytest.mark.parametrize("path", ["/chat", "/v1/chat"])
async def test_the_events_of_an_answer_come_with_its_id(served: Served, path: str) -> None:
    async with served.chat(path) as chat, served.http() as client:
        await chat.send(ask("q1"))
        messages = await said(chat, "done", "error")
        whole = (await client.post("/v1/chat/completions", json=body())).json()
    assert {message["id"] for message in messages} == {"q1"}
    kinds = [message["type"] for message in messages]
    assert kinds[0] == "passages"
    assert kinds[-2:] == ["usage", "done"]
    done = messages[-1]["data"]
    assert done["answer"] == whole["choices"][0]["message"]["content"]
    assert "".join(each["data"]["text"] for each in messages if each["type"] == "token") == done["answer"]
    assert [each["data"] for each in messages if each["type"] == "citation"] == done["citations"]


def body() -> dict[str, Any]:
    return {"model": "ragline", "messages": [{"role": "user", "content": KESTREL}]}


async def test_several_at_once_cancel_and_bounds(retriever: grpc.aio.Channel) -> None:
    llm = world.Reciter(pauses_after=1)
    async with serving(retriever, llm=llm) as served, served.chat() as chat:
        await chat.send(ask("q1"))
        assert (await said(chat, "passages"))[-1]["id"] == "q1"
        await chat.send(ask("q1"))
        twice = (await said(chat, "error"))[-1]
        assert "id" not in twice
        assert twice["data"]["status"] == 409
        await chat.send(ask("q2", "Who is the mayor of Brell?"))
        await said(chat, "passages")
        await chat.send(ask("q3", "What is shown in the museum?"))
        third = (await said(chat, "error"))[-1]
        assert (third["id"], third["data"]["status"]) == ("q3", 429)
        assert "GENERATOR_MAX_CHAT_QUESTIONS" in third["data"]["detail"]
        assert third["data"]["retry_after_s"] == 1
        await chat.send('{"type": "ping"}')
        assert (await said(chat, "pong"))[-1] == {"type": "pong"}
        for name in ("q1", "q2"):
            await chat.send(json.dumps({"type": "cancel", "id": name}))
            assert (await said(chat, "cancelled"))[-1] == {"type": "cancelled", "id": name}
        await llm.closed.wait()
        await chat.send('{"type": "cancel", "id": "q1"}')  # it has ended: nothing comes of it
        await chat.send('{"type": "ping"}')
        assert await said(chat, "pong") == [{"type": "pong"}]
        llm.go.set()
        llm.pauses_after = None
        await chat.send(ask("q1"))
        assert (await said(chat, "done", "error"))[-1]["type"] == "done"


async def test_a_client_that_leaves_ends_the_work(retriever: grpc.aio.Channel) -> None:
    llm = world.Reciter(pauses_after=1)
    async with serving(retriever, llm=llm) as served:
        async with served.chat() as chat:
            await chat.send(ask("q1"))
            await said(chat, "passages")
        await llm.closed.wait()


@pytest.mark.parametrize(
    ("message", "status", "says"),
    [
        ("{", 400, "no valid JSON"),
        ("[]", 400, "body"),
        ('{"type": "shout"}', 400, "type"),
        ('{"type": "ping", "loud": true}', 400, "loud"),
        ('{"type": "ask", "query": "x"}', 400, "id"),
        ('{"type": "ask", "id": "a b", "query": "x"}', 400, "id"),
        ('{"type": "cancel"}', 400, "id"),
        (b"\x00", 400, "text frames"),
        ('{"type": "ask", "id": "q\\ud800", "query": "x"}', 400, "no valid JSON"),
    ],
)
async def test_what_says_nothing_is_told(served: Served, message: str | bytes, status: int, says: str) -> None:
    async with served.chat() as chat:
        await chat.send(message)
        error = (await said(chat, "error"))[-1]
        assert error["data"]["status"] == status
        assert says in error["data"]["detail"] + json.dumps(error["data"].get("errors", []))
        await chat.send('{"type": "ping"}')
        await said(chat, "pong")


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"query": ""}, 400, "query"),
        ({"query": "x" * 201}, 413, "GENERATOR_MAX_QUERY_CHARS"),
        ({"collection": "nowhere"}, 404, "there are default and empty"),
        ({"top_k": 0}, 400, "top_k"),
        ({"timeout_s": 0.000001}, 504, "deadline"),
    ],
)
async def test_what_is_wrong_with_a_question_has_its_id(
    served: Served, change: dict[str, Any], status: int, says: str
) -> None:
    async with served.chat() as chat:
        await chat.send(ask("q7", **{"query": KESTREL, **change}))
        error = (await said(chat, "error", "done"))[-1]
    assert (error["id"], error["data"]["status"]) == ("q7", status), error
    assert says in error["data"]["detail"]
    assert error["data"]["instance"]


async def test_long_messages_close_and_too_many_are_refused(served: Served) -> None:
    async with served.chat() as chat:
        for _ in range(BOUNDS.per_minute):
            await chat.send('{"type": "ping"}')
            await said(chat, "pong")
        await chat.send('{"type": "ping"}')
        refused = (await said(chat, "error"))[-1]["data"]
        assert (refused["status"], "PER_MINUTE" in refused["detail"]) == (429, True)
        assert refused["retry_after_s"] > 0
    for size in (BOUNDS.message_kb * 1024, 2_000_000):
        async with served.chat() as chat:
            await chat.send(" " * size + "{}")
            with pytest.raises(ConnectionClosed) as closed:
                await chat.recv()
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 1009


async def test_questions_count_as_requests(retriever: grpc.aio.Channel) -> None:
    async with serving(retriever, per_minute=2) as served, served.chat() as chat:
        for name in ("q1", "q2"):
            await chat.send(ask(name))
            assert (await said(chat, "done", "error"))[-1]["type"] == "done"
        await chat.send(ask("q3"))
        refused = (await said(chat, "done", "error"))[-1]
        assert (refused["id"], refused["data"]["status"]) == ("q3", 429)
        assert "RAGLINE_MAX_REQUESTS_PER_MINUTE" in refused["data"]["detail"]


async def test_when_the_process_stops_what_was_asked_is_answered(retriever: grpc.aio.Channel) -> None:
    llm = world.Reciter(pauses_after=1)
    async with serving(retriever, llm=llm) as served, served.chat() as chat, served.chat() as idle:
        await chat.send(ask("q1"))
        await said(chat, "passages")
        stopping = asyncio.create_task(served.server.stop(20))
        with pytest.raises(ConnectionClosed) as closed:
            await idle.recv()
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012
        llm.go.set()
        llm.pauses_after = None
        assert (await said(chat, "done", "error"))[-1]["type"] == "done"
        with pytest.raises(ConnectionClosed) as closed:
            await chat.recv()
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012
        await stopping


async def test_the_time_to_drain_bounds_it(retriever: grpc.aio.Channel) -> None:
    llm = world.Reciter(pauses_after=1)
    async with serving(retriever, llm=llm) as served, served.chat() as chat:
        await chat.send(ask("q1"))
        await said(chat, "passages")
        stopping = asyncio.create_task(served.server.stop(0.1))
        with pytest.raises(ConnectionClosed) as closed:
            await said(chat, "done")
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1012
        await llm.closed.wait()
        await stopping


async def test_who_may_connect(retriever: grpc.aio.Channel) -> None:
    async with serving(retriever, chats=1, cors="https://app.example.com") as served:
        own = served.url
        for origin, may in ((own, True), ("https://app.example.com", True), ("https://evil.example", False)):
            if may:
                async with served.chat(origin=origin) as chat:
                    await chat.send('{"type": "ping"}')
                    await said(chat, "pong")
            else:
                with pytest.raises(InvalidStatus) as refused:
                    await served.chat(origin=origin)
                assert refused.value.response.status_code == 403
                assert b"RAGLINE_CORS_ORIGINS" in (refused.value.response.body or b"")
        async with served.chat():
            with pytest.raises(InvalidStatus) as refused:
                await served.chat()
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["retry-after"] == "1"


async def test_a_plain_request_is_told_to_upgrade(served: Served) -> None:
    async with served.http() as client:
        response = await client.get("/chat")
        assert response.status_code == 426
        assert response.headers["upgrade"] == "websocket"
        assert "ask" in (await client.get("/openapi.json")).json()["paths"]["/chat"]["get"]["description"]
