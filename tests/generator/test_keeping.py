"""Answers are kept for all replicas, and written by one of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

import ragline.cache
from ragline.cache import Cache
from ragline.errors import Unavailable
from ragline.v1.retriever_pb2 import Hit, SearchResponse, SearchResult
from services.generator import keeping
from services.generator.events import Anew, Event, Outcome, Passages, Question, Ranked, Spent, Token
from services.generator.keeping import Answers, Written, key_of
from services.generator.llms import Usage
from services.generator.room import Room
from tests.generator.world import passage
from tests.servers.redis import RedisServer

QUESTION = Question("default", "default", "Who is the mayor?", 5, 100)
MakeAnswers = Callable[..., Answers]


def searched(generation: int = 7, *names: str) -> SearchResponse:
    hits = [Hit(passage=passage(name), score=0.5) for name in names or ("brell", "museum")]
    return SearchResponse(results=[SearchResult(hits=hits)], generation=generation)


class Writer:
    """Writes an answer when it is let go, as told."""

    def __init__(self, text: str = "Ada Lund.", error: Exception | None = None) -> None:
        self.text = text
        self.error = error
        self.degraded: tuple[str, ...] = ()
        self.trial = False
        self.written = 0
        self.started = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self) -> Written:
        self.written += 1
        self.started.set()
        found = searched().results[0].hits
        yield Passages((Ranked(found[0], 0.9, 1),), self.trial)
        await self.go.wait()
        if self.error:
            raise self.error
        yield Token(self.text)
        yield Spent(Usage(10, 2))
        yield Outcome(self.text, (), abstained=False, degraded=self.degraded, usage=Usage(10, 2), model="test")


async def said(answers: Answers, writer: Writer, found: SearchResponse | None = None) -> tuple[str, bool]:
    """The answer, and whether it was somebody else's."""
    events: list[Anew | Event | Outcome] = [
        event async for event in answers.get(QUESTION, found or searched(), "variant", writer)
    ]
    outcome = events[-1]
    assert isinstance(outcome, Outcome)
    return outcome.answer, Spent(Usage(), cached=True) in events


@pytest.fixture
async def replica(redis_server: RedisServer) -> AsyncIterator[MakeAnswers]:
    """Makes replicas that share one Redis."""
    opened: list[Cache] = []
    prefix = uuid.uuid4().hex

    def make(url: str = redis_server.url) -> Answers:
        opened.append(ragline.cache.open(f"{url}?prefix={prefix}:&timeout_s=10"))
        return Answers(opened[-1], 60, Room(100, "answers", "SETTING"))

    yield make
    for cache in opened:
        await cache.close()


async def test_two_replicas_do_the_work_once(replica: MakeAnswers) -> None:
    one, other = replica(), replica()
    writer, idle = Writer(), Writer()
    first = [asyncio.create_task(said(one, writer)) for _ in range(5)]
    await writer.started.wait()
    second = [asyncio.create_task(said(other, idle)) for _ in range(5)]
    while not other.shared.streams:  # noqa: ASYNC110 - it has none to wait on
        await asyncio.sleep(0.001)
    writer.go.set()
    assert await asyncio.gather(*first) == [("Ada Lund.", False)] * 5
    assert await asyncio.gather(*second) == [("Ada Lund.", True)] * 5
    assert (writer.written, idle.written) == (1, 0)
    assert await said(other, idle) == ("Ada Lund.", True)


async def test_one_goes_on_where_the_other_fails(replica: MakeAnswers) -> None:
    one, other = replica(), replica()
    writer, second = Writer(error=Unavailable("gone")), Writer("Lund.")
    second.go.set()
    first = asyncio.create_task(said(one, writer))
    await writer.started.wait()
    waiting = asyncio.create_task(said(other, second))
    writer.go.set()
    with pytest.raises(Unavailable):
        await first
    assert await waiting == ("Lund.", False)


async def test_one_goes_on_where_the_others_answer_is_not_to_be_kept(replica: MakeAnswers) -> None:
    one, other = replica(), replica()
    writer, second = Writer(), Writer("Lund.")
    writer.degraded = ("llm",)
    second.go.set()
    first = asyncio.create_task(said(one, writer))
    await writer.started.wait()
    waiting = asyncio.create_task(said(other, second))
    writer.go.set()
    assert await first == ("Ada Lund.", False)
    assert await waiting == ("Lund.", False)


async def test_who_has_read_the_answer_leaves_nobody_waiting(replica: MakeAnswers) -> None:
    """Readers leave with the answer in hand, and with the last one the task goes that wrote it."""
    one, other = replica(), replica()
    writer = Writer()
    writer.degraded = ("llm",)
    writer.go.set()
    for _ in range(20):
        async with aclosing(one.get(QUESTION, searched(), "variant", writer)) as events:
            async for event in events:
                if isinstance(event, Outcome):
                    break
        key = key_of(QUESTION, searched(), "variant")
        assert other.cache
        assert await other.cache.claim(key, 10)
        await other.cache.release(key)
    assert writer.written == 20


async def test_nobody_elsewhere_waits_for_the_answer_of_a_scorer_on_trial(replica: MakeAnswers) -> None:
    one, other = replica(), replica()
    writer, second = Writer(), Writer("Lund.")
    writer.trial = True
    second.go.set()
    first = asyncio.create_task(said(one, writer))
    await writer.started.wait()
    assert await said(other, second) == ("Lund.", False)
    assert await said(one, writer) == ("Lund.", True)
    writer.go.set()
    assert await first == ("Ada Lund.", False)
    assert await said(other, second) == ("Lund.", True)


async def test_one_goes_on_where_the_others_client_leaves(replica: MakeAnswers) -> None:
    one, other = replica(), replica()
    writer, second = Writer(), Writer("Lund.")
    second.go.set()
    first = asyncio.create_task(said(one, writer))
    await writer.started.wait()
    waiting = asyncio.create_task(said(other, second))
    first.cancel()
    assert await waiting == ("Lund.", False)


async def test_one_that_hangs_is_not_waited_for_for_ever(
    replica: MakeAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = replica(), replica()
    writer, second = Writer(), Writer("Lund.")
    second.go.set()
    first = asyncio.create_task(said(one, writer))
    await writer.started.wait()
    monkeypatch.setattr(keeping, "CLAIM_S", 0.1)
    assert await said(other, second) == ("Lund.", False)
    writer.go.set()
    assert await first == ("Ada Lund.", False)


async def test_without_redis_each_writes_its_own_at_once(replica: MakeAnswers, tmp_path: Path) -> None:
    nobody = RedisServer(tmp_path).url
    one, other = replica(nobody), replica(nobody)
    writers = Writer(), Writer("Lund.")
    tasks = [asyncio.create_task(said(each, w)) for each, w in zip((one, other), writers, strict=True)]
    await asyncio.gather(*(writer.started.wait() for writer in writers))
    for writer in writers:
        writer.go.set()
    assert await asyncio.gather(*tasks) == [("Ada Lund.", False), ("Lund.", False)]


async def test_a_redis_that_dies_meanwhile_leaves_nobody_waiting(
    redis_installed: None, replica: MakeAnswers, tmp_path: Path
) -> None:
    with RedisServer(tmp_path) as own:
        one, other = replica(own.url), replica(own.url)
        writer, second = Writer(), Writer("Lund.")
        second.go.set()
        first = asyncio.create_task(said(one, writer))
        await writer.started.wait()
        waiting = asyncio.create_task(said(other, second))
        own.kill()
        assert await waiting == ("Lund.", False)
        writer.go.set()
        assert await first == ("Ada Lund.", False)


async def test_another_generation_is_another_answer(replica: MakeAnswers) -> None:
    answers = replica()
    for generation, text in ((7, "Ada Lund."), (8, "Nobody.")):
        writer = Writer(text)
        writer.go.set()
        assert await said(answers, writer, searched(generation)) == (text, False)
        assert await said(answers, writer, searched(generation)) == (text, True)


def test_the_key_holds_what_the_passages_say() -> None:
    """After a restored backup the same generation may have the same passages' ids with other texts."""
    keys = {key_of(QUESTION, searched(), "v")}
    other = searched()
    other.results[0].hits[0].passage.text = "The mayor of Brell is Bo Berg."
    keys.add(key_of(QUESTION, other, "v"))
    keys.add(key_of(QUESTION, searched(7, "museum", "brell"), "v"))
    keys.add(key_of(QUESTION, searched(7, "brell"), "v"))
    counted = searched()
    counted.results[0].statistics.passages = 3
    keys.add(key_of(QUESTION, counted, "v"))
    assert len(keys) == 5
    scored = searched()
    scored.results[0].hits[0].score = 0.25
    assert key_of(QUESTION, scored, "v") in keys
