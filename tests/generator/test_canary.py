"""An answer whose passages a canary ordered is for those who ask now; nobody meets it later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

import ragline.cache
from services.generator.answer import Answerer
from services.generator.events import Done, Passages, Question
from tests.generator import world
from tests.generator.trying import Trying, trying

ASKED = Question("default", "default", "How long is the warranty of the Kestrel router?", 2, 200)


@pytest_asyncio.fixture
async def reranker(tmp_path: Path) -> AsyncIterator[Trying]:
    """The real reranker, where ``overlap`` serves."""
    async with trying(tmp_path, scorer="overlap") as opened:
        yield opened


async def asked(answerer: Answerer, question: Question = ASKED) -> tuple[list[str], bool]:
    """The passages' documents in their order, and whether the answer was kept."""
    shown: list[str] = []
    async for event in answerer.stream(question):
        if isinstance(event, Passages):
            shown = [each.passage.document_id for each in event.ranked]
        if isinstance(event, Done):
            return shown, event.cached
    raise AssertionError(shown)


async def test_what_a_canary_ordered_is_not_served_after_it(retriever: grpc.aio.Channel, reranker: Trying) -> None:
    usual, _ = await asked(world.answerer(retriever, reranker.channel))
    answerer = world.answerer(retriever, reranker.channel, cache=ragline.cache.open("memory://"))
    await reranker.canary()
    tried, _ = await asked(answerer)
    assert tried != usual
    assert await asked(answerer) == (tried, False)
    await reranker.withdraw()
    assert await asked(answerer) == (usual, False)
    assert await asked(answerer) == (usual, True)


async def test_who_asks_for_the_scorer_by_its_name_is_not_on_trial(
    retriever: grpc.aio.Channel, reranker: Trying
) -> None:
    answerer = world.answerer(retriever, reranker.channel, cache=ragline.cache.open("memory://"))
    await reranker.canary()
    named = replace(ASKED, scorer="backwards")
    assert [(await asked(answerer, each))[1] for each in (named, named)] == [False, True]
    serving = replace(ASKED, scorer="overlap")
    assert [(await asked(answerer, each))[1] for each in (serving, serving)] == [False, True]


async def test_equal_questions_at_once_are_the_canarys_once(retriever: grpc.aio.Channel, reranker: Trying) -> None:
    reciter = world.Reciter(pauses_after=0)
    cache = ragline.cache.open("memory://")
    answerer = world.answerer(
        retriever, reranker.channel, llm=reciter, cache=cache, choices=replace(world.CHOICES, abstain_below=0.0)
    )
    await reranker.canary()
    tasks = [asyncio.create_task(answerer.answer(ASKED)) for _ in range(5)]
    streams = answerer.answers.shared.streams
    while not reciter.calls or sum(len(each.readers) for each in streams.values()) < 5:  # noqa: ASYNC110 - no events
        await asyncio.sleep(0.001)
    reciter.go.set()
    said = await asyncio.gather(*tasks)
    assert len({each.outcome.answer for each in said}) == 1
    assert reciter.calls == 1
    assert not any(each.cached for each in said)


@pytest.mark.parametrize("door", ["passages", "documents"])
async def test_the_rest_door_says_whose_scores_they_are(reranker: Trying, door: str) -> None:
    body = {"query": "lost message", door: ["A lost message is sent again.", "We open at nine."]}
    before = (await reranker.doors.post("/rerank", json=body)).json()
    assert "trial" not in before
    await reranker.canary()
    tried = (await reranker.doors.post("/rerank", json=body)).json()
    assert [each["index"] for each in tried["results"]] == [1, 0]
    assert tried.get("trial") == (True if door == "passages" else None)
