"""Claims that words do not settle are compared by the reranker: fair paraphrases pass, inventions do not."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from ragline.v1.passage_pb2 import Statistics
from ragline.v1.retriever_pb2 import Hit
from services.generator.checks import evidence
from services.generator.checks.attribution import Attribution
from services.generator.checks.citations import Citer
from services.generator.checks.judging import Judge
from services.generator.events import Question, Ranked
from services.generator.sources import Sources, Timeouts
from tests.generator import world

PASSAGES = [world.passage(name) for name in world.SOURCES]
RANKED = [Ranked(Hit(passage=each), 0.9, place) for place, each in enumerate(PASSAGES, 1)]
PARAPHRASES = [
    "The Kestrel router has a guarantee of two years.",
    "Brell is located on the north shore of Lake Orvan.",
    "Forty fishing boats are on display at the museum of Lake Orvan.",
    "After three failures the message is put into the dead-letter queue.",
]
INVENTIONS = [
    "The Kestrel router comes with a two-year subscription to the newspaper.",
    "The Kestrel router has a guarantee of five years.",
    "The museum of Lake Orvan shows forty oil paintings.",
    "The mayor of Brell is Ada Lovelace.",
    "Brell is located on the south shore of Lake Orvan.",
    "The Kestrel router has no guarantee of two years.",
    "Berlin is the capital of Germany.",
    "Happiness is a journey.",
]


@pytest_asyncio.fixture
async def late(minilm: Path, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the real reranker with late interaction."""
    async with world.reranking(tmp_path, "late_interaction") as channel:
        yield channel


def judge(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> Judge:
    return Judge(Sources(retriever, reranker, Timeouts(5.0, 5.0)), RANKED, Statistics(), "late_interaction")


def attribution(judging: Judge | None = None) -> Attribution:
    return Attribution(Citer(PASSAGES, evidence.split(PASSAGES, 100)), judging)


@pytest.mark.models
async def test_paraphrases_pass_and_inventions_do_not(retriever: grpc.aio.Channel, late: grpc.aio.Channel) -> None:
    checked = attribution(judge(retriever, late))
    made = await checked.check([*PARAPHRASES, *INVENTIONS])
    assert [each.claim for each in made if each.support] == PARAPHRASES
    assert {each.rule for each in made if each.support} >= {"likeness"}
    assert all(0 < each.support.score <= 1 for each in made if each.support)
    assert all(each.reason for each in made if not each.support)


@pytest.mark.models
async def test_an_answer_asks_the_judge_once_a_claim(retriever: grpc.aio.Channel, late: grpc.aio.Channel) -> None:
    question = Question("default", "default", "How long is the warranty of the Kestrel router?", 3, 100)
    outcome = (await world.answerer(retriever, late).answer(question)).outcome
    assert outcome.answer.startswith("The Kestrel router comes with a two-year warranty. [1]")
    assert outcome.degraded == ()


async def test_without_the_reranker_words_decide_and_it_is_asked_once(
    retriever: grpc.aio.Channel, away: grpc.aio.Channel
) -> None:
    judging = judge(retriever, away)
    with_judge = await attribution(judging).check([*PARAPHRASES, *INVENTIONS])
    assert judging.away
    assert with_judge == await attribution().check([*PARAPHRASES, *INVENTIONS])


async def test_what_words_settle_needs_no_judge(retriever: grpc.aio.Channel, away: grpc.aio.Channel) -> None:
    judging = judge(retriever, away)
    (made,) = await attribution(judging).check(["The Kestrel router comes with a two-year warranty."])
    assert (made.rule, made.chance, judging.away) == ("words", None, False)
