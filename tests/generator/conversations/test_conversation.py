"""Conversations through the doors: follow-ups, history, two at once, stores that are away, other wordings."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import orjson
import pytest
import pytest_asyncio

from ragline import entries
from ragline.entries import Entries
from ragline.http import create_app
from services.generator import api, asking
from services.generator.answer import Answerer
from services.generator.conversations import api as sessions_api
from services.generator.conversations.conversation import Conversations
from services.generator.conversations.sessions import Sessions
from services.generator.conversations.standalone import Standalone
from services.generator.expansion import Expansions
from services.generator.llms.extractive import Extractive
from services.generator.prompts import shipped
from services.generator.steps import Steps
from tests.generator import world
from tests.servers.redis import RedisServer


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Entries]:
    opened = entries.open(f"sqlite://{tmp_path / 'sessions.db'}")
    yield opened
    await opened.close()


def doors(retriever: grpc.aio.Channel, store: Entries, limit: int = 100) -> httpx.AsyncClient:
    """A client of the routes over ``store``."""
    sessions = Sessions(store, 3600.0, limit)
    standalone = Standalone(lambda question: Extractive(), shipped(), "auto", 5.0)
    expansions = Expansions(lambda question: Extractive(), shipped(), "auto", 5.0)
    steps = Steps(conversation=Conversations(sessions, standalone, 10), expansion=expansions)
    plain = world.answerer(retriever, None)
    answerer = Answerer(plain.sources, plain.llms, plain.answers, plain.choices, steps)
    routes = api.router(answerer, world.summarizer(retriever), asking.Limits(1000, 1000, 100, 1000), 10)
    app = create_app("generator", [routes, sessions_api.router(sessions)], checks={})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest_asyncio.fixture
async def client(retriever: grpc.aio.Channel, store: Entries) -> AsyncIterator[httpx.AsyncClient]:
    async with doors(retriever, store) as opened:
        yield opened


async def ask(client: httpx.AsyncClient, query: str, **more: Any) -> dict[str, Any]:
    answer = await client.post("/generate", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_follow_up_is_understood_and_remembered_as_it_was_asked(client: httpx.AsyncClient) -> None:
    session = (await client.post("/sessions")).json()["session_id"]
    first = await ask(client, "How many inhabitants has Brell?", session_id=session)
    second = await ask(client, "And who is its mayor?", session_id=session)
    assert "query" not in first
    assert second["query"] == "And who is its mayor? (Brell)"
    assert "Ada Lund" in second["answer"]
    assert second["session_id"] == session
    history = (await client.get(f"/sessions/{session}")).json()
    assert history["session_id"] == session
    assert [turn["question"] for turn in history["turns"]] == [
        "How many inhabitants has Brell?",
        "And who is its mayor?",
    ]
    assert [turn["answer"] for turn in history["turns"]] == [first["answer"], second["answer"]]
    assert [turn["answer_id"] for turn in history["turns"]] == [first["id"], second["id"]]
    assert history["turns"][1]["query"] == second["query"]


async def test_a_turn_keeps_what_it_takes_to_show_it_again(client: httpx.AsyncClient, store: Entries) -> None:
    plain = await ask(client, "Who is the mayor of Brell?", session_id="shown")
    (kept,) = (await client.get("/sessions/shown")).json()["turns"]
    assert plain["citations"]
    assert kept["collection"] == "default"
    assert all(each.pop("title") for each in kept["citations"])
    assert [{**each, "masked": False} for each in plain["citations"]] == kept["citations"]
    for name in ("degraded", "finish", "model"):
        assert kept[name] == plain[name]
    assert (kept["unsupported"], kept["findings"]) == ([], [])


async def test_turns_of_other_versions_are_read(client: httpx.AsyncClient, store: Entries) -> None:
    old = {"question": "a", "answer": "b", "abstained": False, "query": "", "answer_id": "c", "asked_at": 1.0}
    for row in (old, {**old, "a field of tomorrow": 1}):
        await store.append("session:default:aged", orjson.dumps(row), ttl_s=60.0, limit=10)
    turns = (await client.get("/sessions/aged")).json()["turns"]
    assert [(turn["question"], turn["collection"], turn["citations"]) for turn in turns] == [("a", "", [])] * 2


async def test_a_client_may_keep_the_turns_itself(client: httpx.AsyncClient) -> None:
    turns = [{"question": "How many inhabitants has Brell?", "answer": "4,200."}]
    answer = await ask(client, "Who is its mayor?", turns=turns)
    assert answer["query"] == "Who is its mayor? (Brell)"
    assert "session_id" not in answer


async def test_an_abstention_is_remembered_and_marked(client: httpx.AsyncClient) -> None:
    answer = await ask(client, "Which colour does a zebra have?", session_id="s-1")
    assert answer["abstained"]
    history = (await client.get("/sessions/s-1")).json()
    assert [turn["abstained"] for turn in history["turns"]] == [True]
    assert "query" in await ask(client, "And when?", session_id="s-1")


async def test_a_deleted_session_is_gone(client: httpx.AsyncClient) -> None:
    await ask(client, "How many inhabitants has Brell?", session_id="mine")
    assert (await client.delete("/sessions/mine")).status_code == 204
    for answer in (await client.get("/sessions/mine"), await client.delete("/sessions/mine")):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert "query" not in await ask(client, "Who is its mayor?", session_id="mine")


async def test_new_sessions_are_empty_and_not_to_be_guessed(client: httpx.AsyncClient) -> None:
    made = {(await client.post("/sessions")).json()["session_id"] for _ in range(20)}
    assert len(made) == 20
    assert all(len(each) >= 24 for each in made)
    assert (await client.get(f"/sessions/{made.pop()}")).json()["turns"] == []
    assert (await client.get("/sessions/unknown")).status_code == 404


@pytest.mark.parametrize("wrong", ["a b", "ä", "x" * 101, "a/b", "a:b", "a.b", "{a}", "a\n"])
async def test_other_ids_are_refused_with_their_field(client: httpx.AsyncClient, wrong: str) -> None:
    answer = await client.post("/generate", json={"query": "And when?", "session_id": wrong})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "session_id"
    if "/" not in wrong:
        path = f"/sessions/{quote(wrong, safe='')}"
        assert (await client.get(path)).status_code == 400
        assert (await client.delete(path)).status_code == 400


async def test_a_session_and_turns_exclude_each_other(client: httpx.AsyncClient) -> None:
    turns = [{"question": "a", "answer": "b"}]
    answer = await client.post("/generate", json={"query": "And when?", "session_id": "s", "turns": turns})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "turns"


async def test_questions_of_one_session_at_once_lose_no_turn_and_mix_none(client: httpx.AsyncClient) -> None:
    queries = [f"Who is the mayor of Brell, {n}?" for n in range(12)]
    answers = await asyncio.gather(*(ask(client, query, session_id="busy") for query in queries))
    turns = (await client.get("/sessions/busy")).json()["turns"]
    assert sorted(turn["question"] for turn in turns) == sorted(queries)
    by_id = {answer["id"]: (query, answer["answer"]) for query, answer in zip(queries, answers, strict=True)}
    assert {turn["answer_id"]: (turn["question"], turn["answer"]) for turn in turns} == by_id


async def test_only_the_latest_turns_are_kept(retriever: grpc.aio.Channel, store: Entries) -> None:
    async with doors(retriever, store, limit=3) as client:
        for n in range(5):
            await ask(client, f"Who is the mayor of Brell, {n}?", session_id="long")
        turns = (await client.get("/sessions/long")).json()["turns"]
    assert [turn["question"][-2] for turn in turns] == ["2", "3", "4"]


async def test_sessions_are_of_one_tenant(store: Entries) -> None:
    sessions = Sessions(store, 60.0, 10)
    session = await sessions.create("one")
    assert await sessions.read("one", session) == []
    assert await sessions.latest("other", session, 10) == []
    assert not [key async for key in store.keys("session:other:")]


async def test_a_store_that_goes_away_costs_the_history_alone(
    redis_installed: None, tmp_path: Path, retriever: grpc.aio.Channel
) -> None:
    with RedisServer(tmp_path) as server:
        store = entries.open(f"{server.url}?timeout_s=5")
        async with doors(retriever, store) as client:
            assert (await ask(client, "How many inhabitants has Brell?", session_id="s"))["degraded"] == []
            server.kill()
            answer = await ask(client, "Who is the mayor of Brell?", session_id="s")
            assert "Ada Lund" in answer["answer"]
            assert answer["degraded"] == ["session"]
            assert (await client.get("/sessions/s")).status_code == 503
            assert (await client.post("/sessions")).status_code == 503
            assert (await ask(client, "Who is the mayor of Brell?"))["degraded"] == []
        await store.close()


async def test_a_store_that_is_full_is_read_and_takes_no_more_turns(
    redis_installed: None, tmp_path: Path, retriever: grpc.aio.Channel
) -> None:
    with RedisServer(tmp_path) as server:
        store = entries.open(f"{server.url}?timeout_s=20")
        async with doors(retriever, store) as client:
            assert (await ask(client, "How many inhabitants has Brell?", session_id="s"))["degraded"] == []
            server.say("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
            server.say("CONFIG", "SET", "maxmemory", "1mb")  # less than it needs for itself
            answer = await ask(client, "Who is the mayor of Brell?", session_id="s")
            assert "Ada Lund" in answer["answer"]
            assert answer["degraded"] == ["session"]
            assert len((await client.get("/sessions/s")).json()["turns"]) == 1
            refused = await client.post("/sessions")
            assert (refused.status_code, "maxmemory" in refused.json()["detail"]) == (503, True)
            assert (await client.delete("/sessions/s")).status_code == 204
        await store.close()


async def test_other_wordings_are_searched_for_in_one_call(client: httpx.AsyncClient, shelf: world.Shelf) -> None:
    answer = await ask(client, "Who is the mayor of Brell?", expand=2, explain=True)
    assert shelf.searches == 1
    told = answer["explain"]["wordings"]
    assert [each["wording"] for each in told] == [
        "Who is the mayor of Brell?",
        "is the mayor of Brell",
        "mayor Brell",
    ]
    assert all("brell#0" in each["passages"] for each in told)
    assert "Ada Lund" in answer["answer"]
    assert "expand" in answer["timings_ms"]


async def test_without_explain_nobody_is_told_of_wordings(client: httpx.AsyncClient) -> None:
    answer = await ask(client, "Who is the mayor of Brell?", expand=1)
    assert "explain" not in answer
    refused = await client.post("/generate", json={"query": "Who?", "expand": 9})
    assert refused.json()["errors"][0]["field"] == "expand"
