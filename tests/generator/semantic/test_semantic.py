"""A question in other words is answered from the kept answer; one that only looks alike never is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

import ragline.cache
from ragline.encoder import Encoder
from ragline.metrics import REGISTRY
from ragline.settings import SettingsError
from ragline.v1 import retriever_pb2
from services.generator.answer import Answerer
from services.generator.events import Done, Question, Retrieval
from services.generator.keeping import Answers
from services.generator.room import Room
from services.generator.semantic import Choices, Semantic, added, packed, unpacked
from services.generator.semantic.opening import open_semantic
from services.generator.settings import Settings
from services.generator.sources import Sources, Timeouts
from services.reranker.__main__ import build as build_reranker
from services.reranker.settings import Settings as RerankerSettings
from tests.generator import world
from tests.generator.trying import trying
from tests.generator.world import CHOICES, Shelf, roster
from tests.servers.redis import RedisServer

MAYOR = Question("default", "default", "Who is the mayor of Brell?", 5, 100)
ALIKE = replace(MAYOR, query="who's the mayor of brell")
Make = Callable[..., Answerer]


@dataclass
class Vectors(Shelf):
    """Returns the questions' vectors, where it is asked for them."""

    encoder: Encoder | None = field(default=None, kw_only=True)

    async def Search(  # noqa: N802 - gRPC's name
        self, request: retriever_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> retriever_pb2.SearchResponse:
        found = await super().Search(request, context)
        if request.vectors and self.encoder:
            vectors = self.encoder.encode(self.encoder.tokenize(list(request.queries))).vectors
            found.results[0].vector = vectors[0].astype("<f4").tobytes()
        return found


def told(result: str) -> float:
    """How often that came of a question."""
    return REGISTRY.get_sample_value("ragline_semantic_cache_total", {"result": result}) or 0.0


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> Encoder:
    return Encoder.open(minilm, threads=1, max_tokens=None)


@pytest.fixture
def shelf(encoder: Encoder) -> Vectors:
    return Vectors(encoder=encoder)  # type: ignore[abstract]  # gRPC refuses what it lacks


@pytest_asyncio.fixture
async def reranker(minilm: Path, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the real reranker with the scorer that compares questions."""
    options = {"model": str(minilm)}
    settings = RerankerSettings(data_dir=tmp_path, scorer="late_interaction", scorer_options=options, threads=1)
    service = await build_reranker(settings)
    await service.start()
    async with world.serving(service.add_rpc) as channel:
        yield channel
    await service.stop()


@pytest_asyncio.fixture
async def make(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> AsyncIterator[Make]:
    """Makes replicas with a semantic cache."""
    async with AsyncExitStack() as stack:

        def made(url: str = "memory://", asks: grpc.aio.Channel | None = reranker, **choices: Any) -> Answerer:
            cache = ragline.cache.open(url)
            stack.push_async_callback(cache.close)
            sources = Sources(retriever, asks, Timeouts(5.0, 5.0), vectors=True)
            semantic = Semantic(cache, sources, Choices(**choices), 60.0)
            answers = Answers(cache, 60.0, Room(16, "answers", "SETTING"), semantic)
            return Answerer(sources, roster(), answers, CHOICES)

        yield made


@pytest.mark.models
async def test_the_same_in_other_words_gets_the_kept_answer(make: Make) -> None:
    answerer = make()
    first = await answerer.answer(MAYOR)
    hits = told("hit")
    again = await answerer.answer(ALIKE)
    assert (again.cached, again.like) == (True, MAYOR.query)
    assert again.outcome.answer == first.outcome.answer == "The mayor of Brell is Ada Lund[ 3 ]. [1]"
    assert again.outcome.citations == first.outcome.citations
    assert told("hit") == hits + 1
    exact = await answerer.answer(MAYOR)
    assert (exact.cached, exact.like) == (True, "")


@pytest.mark.models
async def test_what_only_looks_alike_is_answered_by_itself(make: Make, shelf: Vectors) -> None:
    others = {
        "names": "Who is the mayor of Orvan?",
        "asks": "When is the mayor of Brell?",
        "tense": "Who was the mayor of Brell?",
        "words": "Who is the baker of Brell?",
    }
    for reason, query in others.items():
        answerer = make(cosine=0.3, agreement=0.3)
        await answerer.answer(MAYOR)
        before = told(reason)
        done = await answerer.answer(replace(MAYOR, query=query))
        assert (done.cached, done.like) == (False, "")
        assert told(reason) == before + 1
    before = told("none")
    assert not (await answerer.answer(replace(MAYOR, query="How long is the warranty?"))).cached
    assert told("none") == before + 1


@pytest.mark.models
async def test_it_never_leaves_its_tenant_collection_generation_or_way_of_asking(
    make: Make, shelf: Vectors
) -> None:
    answerer = make()
    await answerer.answer(MAYOR)
    for other in (
        replace(ALIKE, tenant="another"),
        replace(ALIKE, filter_json='{"kind": "brell"}'),
        replace(ALIKE, retrieval=Retrieval(neighbours=1)),
        replace(ALIKE, top_k=4),
        replace(ALIKE, max_tokens=50),
        replace(ALIKE, explain=True),
        replace(ALIKE, temperature=0.5),
    ):
        assert (await answerer.answer(other)).like == ""
    shelf.generation += 1
    assert (await answerer.answer(replace(ALIKE, top_k=5))).like == ""


@pytest.mark.models
async def test_what_it_cites_must_be_found_now(make: Make, shelf: Vectors) -> None:
    """A record restored from a backup counts its generations again, with other texts."""
    answerer = make()
    await answerer.answer(MAYOR)
    text = shelf.passages[0].source
    shelf.passages[0].source = text.replace("Ada Lund", "Bo Bergs")
    shelf.passages[0].text = shelf.passages[0].text.replace("Ada Lund", "Bo Bergs")
    before = told("passages")
    done = await answerer.answer(ALIKE)
    assert (done.cached, "Bo Bergs" in done.outcome.answer) == (False, True)
    assert told("passages") == before + 1


@pytest.mark.models
async def test_many_at_once_look_once(make: Make, shelf: Vectors) -> None:
    answerer = make()
    await answerer.answer(MAYOR)
    before = told("hit")
    done: list[Done] = await asyncio.gather(*(answerer.answer(ALIKE) for _ in range(8)))
    assert {(each.cached, each.like) for each in done} == {(True, MAYOR.query)}
    assert told("hit") < before + 8


@pytest.mark.models
async def test_without_a_reranker_or_a_cache_each_question_is_answered_by_itself(
    make: Make, away: grpc.aio.Channel, tmp_path: Path
) -> None:
    for answerer in (make(asks=away), make(f"{RedisServer(tmp_path).url}?timeout_s=0.2")):
        await answerer.answer(MAYOR)
        done = await answerer.answer(ALIKE)
        assert (done.cached, done.outcome.abstained) == (False, False)


@pytest.mark.models
async def test_replicas_share_it_in_redis(make: Make, redis_server: RedisServer, tmp_path: Path) -> None:
    url = f"{redis_server.url}?prefix={tmp_path.name}:&timeout_s=10"
    one, other = make(url), make(url)
    await one.answer(MAYOR)
    done = await other.answer(ALIKE)
    assert (done.cached, done.like) == (True, MAYOR.query)


@pytest.mark.models
async def test_nothing_is_learned_of_what_a_canary_ordered(
    retriever: grpc.aio.Channel, minilm: Path, tmp_path: Path
) -> None:
    options = {"model": str(minilm)}
    async with trying(tmp_path, scorer="late_interaction", scorer_options=options) as reranker:
        cache = ragline.cache.open("memory://")
        sources = Sources(retriever, reranker.channel, Timeouts(5.0, 5.0), vectors=True)
        answers = Answers(cache, 60.0, Room(16, "answers", "SETTING"), Semantic(cache, sources, Choices(), 60.0))
        answerer = Answerer(sources, roster(), answers, CHOICES)
        await reranker.canary("overlap")
        assert (await answerer.answer(MAYOR)).outcome.citations
        for question in (ALIKE, MAYOR):
            done = await answerer.answer(question)
            assert (done.cached, done.like) == (False, "")
        await reranker.withdraw()
        assert not (await answerer.answer(MAYOR)).cached
        assert (await answerer.answer(ALIKE)).like == MAYOR.query


def test_the_latest_questions_are_kept() -> None:
    kept = unpacked(None)
    rows = np.eye(8, dtype=np.float32)
    for number in range(6):
        kept = added(kept, f"question {number}", f"key {number}", rows[number], 3)
    kept = unpacked(packed(added(kept, "question 4", "key", rows[7], 3)))
    assert kept.questions == ("question 3", "question 5", "question 4")
    assert kept.keys == ("key 3", "key 5", "key")
    assert kept.vectors.argmax(axis=1).tolist() == [3, 5, 7]
    assert added(kept, "one", "key", rows[0], 1).questions == ("one",)
    assert added(kept, "other dimensions", "key", np.ones(4, dtype=np.float32), 3).questions == (
        "other dimensions",
    )


async def test_it_needs_a_cache_and_a_reranker(retriever: grpc.aio.Channel) -> None:
    sources = Sources(retriever, None, Timeouts(1.0, 1.0))
    assert open_semantic(Settings(), None, sources) is None
    with pytest.raises(SettingsError, match="GENERATOR_SEMANTIC_CACHE needs a cache"):
        open_semantic(Settings(semantic_cache=True), None, sources)
