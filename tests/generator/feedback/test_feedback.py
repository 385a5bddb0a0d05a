"""What led to an answer is kept, and what people say of it with it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

import ragline.entries
from ragline.entries import Entries
from ragline.errors import NotFound, Overloaded, Refused, Unavailable
from ragline.http import create_app
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Hit
from services.generator.events import Done, Finding, Outcome, Question, Ranked
from services.generator.feedback import api
from services.generator.feedback.opening import open_records
from services.generator.feedback.records import AnswerRecords
from services.generator.feedback.votes import Vote, Votes, Wanted
from services.generator.feedback.writer import Writer
from services.generator.llms import Usage
from services.generator.settings import Settings

QUESTION = Question("default", "manuals", "How long is the warranty?", 5, 256)
RANKED = (Ranked(Hit(passage=Passage(id="kestrel#0", document_id="kestrel", text="Two years.")), 0.9, 1),)


def answered(identity: str = "a1", text: str = "Two years. [1]") -> Done:
    outcome = Outcome(text, (), False, (), Usage(10, 4), "extractive")
    return Done(identity, outcome, {"total": 1.5}, 7, False)


class Away:
    """A store that can be away."""

    def __init__(self) -> None:
        self.entries = ragline.entries.open("memory://")
        self.there = asyncio.Event()
        self.there.set()
        self.tries = 0
        self.tried = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.entries, name)

    async def append(self, key: str, entry: bytes, *, ttl_s: float, limit: int, lasting: bool = True) -> None:
        self.tries += 1
        self.tried.set()
        if not self.there.is_set():
            raise Unavailable("The store is away.")
        await self.entries.append(key, entry, ttl_s=ttl_s, limit=limit)


def kept_in(store: Entries, max_bytes: int = 1_000_000) -> AnswerRecords:
    return AnswerRecords(store, 60.0, Writer(store, 60.0, max_bytes, retry_s=0.001))


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def votes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Votes]:
    url = "memory://" if request.param == "memory" else f"sqlite://{tmp_path}/records.db"
    store = ragline.entries.open(url)
    records = kept_in(store)
    yield Votes(store, records, 3600.0, 3, None)
    await records.close()
    await store.close()


async def listed(votes: Votes, wanted: Wanted, count: int = 100) -> list[dict[str, Any]]:
    return [vote async for vote in votes.listed(wanted, count)]


async def test_feedback_carries_what_led_to_the_answer(votes: Votes) -> None:
    await votes.records.keep(QUESTION, answered(), RANKED)
    given = await votes.give("default", Vote("a1", "down", "No.", "One year.", ("wrong",)))
    (found,) = await listed(votes, Wanted("default"))
    assert found.items() >= given.items()
    assert (found["comment"], found["corrected_answer"], found["tags"]) == ("No.", "One year.", ["wrong"])
    answer = found["answer"]
    assert (answer["question"], answer["answer"], answer["generation"]) == (QUESTION.query, "Two years. [1]", 7)
    (passage,) = answer["passages"]
    assert (passage["id"], passage["text"], passage["score"]) == ("kestrel#0", "Two years.", 0.9)
    assert len(passage["sha256"]) == 64
    assert "turns" not in answer["options"]


async def test_several_may_say_something_but_not_without_end(votes: Votes) -> None:
    await votes.records.keep(QUESTION, answered(), RANKED)
    for rating in ("up", "down", "up"):
        await votes.give("default", Vote("a1", "up" if rating == "up" else "down"))
    with pytest.raises(Overloaded, match="GENERATOR_MAX_FEEDBACK"):
        await votes.give("default", Vote("a1", "up"))
    assert [vote["rating"] for vote in await listed(votes, Wanted("default"))] == ["up", "down", "up"]


@pytest.mark.parametrize("answer_id", ["nowhere", "../a1", ""])
async def test_an_unknown_answer(votes: Votes, answer_id: str) -> None:
    with pytest.raises(NotFound, match="GENERATOR_RECORDS_TTL_S"):
        await votes.give("default", Vote(answer_id, "up"))


async def test_tenants_see_their_own(votes: Votes) -> None:
    for tenant in ("a", "a:b", "a%3Ab"):
        await votes.records.keep(replace(QUESTION, tenant=tenant), answered(), RANKED)
        await votes.give(tenant, Vote("a1", "up", comment=tenant))
        assert [vote["comment"] for vote in await listed(votes, Wanted(tenant))] == [tenant]
    with pytest.raises(NotFound):
        await votes.give("c", Vote("a1", "up"))


async def test_pages_and_filters(votes: Votes) -> None:
    for at in range(5):
        asked = replace(QUESTION, collection="even" if at % 2 == 0 else "odd")
        await votes.records.keep(asked, answered(f"a{at}"), RANKED)
        await votes.give("default", Vote(f"a{at}", "up" if at < 3 else "down"))
    first = await listed(votes, Wanted("default"), 2)
    rest = await listed(votes, Wanted("default", after=first[-1]["cursor"]), 9)
    assert sorted(vote["answer_id"] for vote in first + rest) == ["a0", "a1", "a2", "a3", "a4"]
    keys = [vote["cursor"] for vote in first + rest]
    assert keys == sorted(keys)
    even = await listed(votes, Wanted("default", collection="even", rating="up"), 1)
    assert len(even) == 1
    assert not await listed(votes, Wanted("default", until_s=1.0))
    assert not await listed(votes, Wanted("default", since_s=9_999_999_998.0))


async def test_a_record_is_found_before_it_is_written_and_written_when_the_store_is_back() -> None:
    store = Away()
    store.there.clear()
    records = kept_in(store)
    await records.keep(QUESTION, answered(), RANKED)  # neither fails nor waits
    await store.tried.wait()
    assert (await records.find("default", "a1") or {})["answer"] == "Two years. [1]"
    store.there.set()
    await records.close()
    assert not records.writer.waiting
    assert (await records.find("default", "a1") or {})["answer"] == "Two years. [1]"
    await store.close()


async def test_the_oldest_that_wait_are_dropped() -> None:
    store = Away()
    store.there.clear()
    records = kept_in(store, max_bytes=2500)
    for at in range(8):
        await records.keep(QUESTION, answered(f"a{at}"), RANKED)
    assert 0 < records.writer.bytes == sum(map(len, records.writer.waiting.values())) <= 2500
    assert await records.find("default", "a0") is None
    assert await records.find("default", "a7")
    store.there.set()
    await records.close()
    assert records.writer.bytes == 0
    assert await records.find("default", "a7")


class Masking:
    """Masks digits of a question, and refuses some."""

    async def question(self, question: Question) -> tuple[Question, tuple[Finding, ...]]:
        if "forbidden" in question.query:
            raise Refused("That is forbidden.", guard="topics")
        return replace(question, query=question.query.replace("4111", "[card]")), ()


async def test_guards_look_at_what_people_write(votes: Votes) -> None:
    votes.guards = Masking()  # type: ignore[assignment] # the others are not asked
    await votes.records.keep(QUESTION, answered(), RANKED)
    given = await votes.give("default", Vote("a1", "down", "4111 is mine", "forbidden"))
    assert (given["comment"], given["corrected_answer"]) == ("[card] is mine", "")


def app(votes: Votes | None, token: SecretStr | None = None, host: str = "127.0.0.1") -> httpx.AsyncClient:
    made = create_app("generator", [api.router(votes, token)], checks={})
    return httpx.AsyncClient(transport=httpx.ASGITransport(made, client=(host, 1)), base_url="http://localhost")


async def test_over_rest(votes: Votes) -> None:
    await votes.records.keep(QUESTION, answered(), RANKED)
    async with app(votes) as client:
        response = await client.post("/feedback", json={"answer_id": "a1", "rating": "up", "tags": ["a", "b"]})
        assert response.status_code == 201
        assert response.json()["answer_id"] == "a1"
        for body in ({"rating": "fine"}, {"comment": "x" * 20_000}, {"tags": [""]}, {"stars": 5}):
            response = await client.post("/feedback", json={"answer_id": "a1", "rating": "up", **body})
            assert response.status_code in {400, 413}, body
        assert (await client.post("/feedback", json={"answer_id": "x", "rating": "up"})).status_code == 404
        page = (await client.get("/feedback", params={"limit": 1, "since": "2020-01-01"})).json()
        assert len(page["feedback"]) == 1
        assert not (await client.get("/feedback", params={"after": page["next"]})).json()["feedback"]
        lines = (await client.get("/feedback/export")).text.splitlines()
        assert len(lines) == 1


async def test_only_who_runs_it_reads(votes: Votes) -> None:
    secret = "s" * 12
    for token, host, headers, status in (
        (None, "10.0.0.9", {}, 403),
        (None, "127.0.0.1", {"x-forwarded-for": "10.0.0.9"}, 403),
        (SecretStr(secret), "127.0.0.1", {}, 401),
        (SecretStr(secret), "10.0.0.9", {"authorization": f"Bearer {secret}"}, 200),
    ):
        async with app(votes, token, host) as client:
            for path in ("/feedback", "/feedback/export"):
                assert (await client.get(path, headers=headers)).status_code == status


async def test_switched_off_says_so(tmp_path: Path) -> None:
    opened = open_records(Settings(data_dir=tmp_path, records_url=""), None)
    assert opened.records is None
    async with app(None) as client:
        response = await client.post("/feedback", json={"answer_id": "a1", "rating": "up"})
    assert response.status_code == 404
    assert "GENERATOR_RECORDS_URL" in response.json()["detail"]
    await opened.stop()


async def test_by_default_they_are_in_the_data_folder(tmp_path: Path) -> None:
    opened = open_records(Settings(data_dir=tmp_path), None)
    assert opened.records is not None
    await opened.records.keep(QUESTION, answered(), RANKED)
    await opened.stop()
    assert (tmp_path / "records.db").exists()
    again = open_records(Settings(data_dir=tmp_path), None)
    assert again.records is not None
    assert await again.records.find("default", "a1")
    await again.stop()
