"""The read path against a real retriever and reranker."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import grpc
import pytest

import ragline.cache
from ragline.errors import InvalidRequest, NotFound, Overloaded, Unavailable
from services.generator.events import Cited, Done, Event, Passages, Question, Spent, Token
from services.generator.llms import Usage
from tests.generator import world

WARRANTY = Question("default", "default", "How long is the warranty of the Kestrel router?", 3, 100)
NONSENSE = replace(WARRANTY, query="Who composed the opera about Egyptian astronauts?")


async def everything(events: AsyncGenerator[Event, None]) -> list[Event]:
    async with aclosing(events):
        return [event async for event in events]


async def collected(events: AsyncGenerator[Event, None], into: list[Event]) -> None:
    async for event in events:
        into.append(event)  # noqa: PERF401 - what came before a failure counts


async def test_an_answer_with_a_checked_citation(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    done = await world.answerer(retriever, reranker).answer(WARRANTY)
    outcome = done.outcome
    assert outcome.answer.startswith("The Kestrel router comes with a two-year warranty. [1]")
    first = outcome.citations[0]
    source = world.SOURCES["kestrel"][1]
    assert source[first.start : first.end] == first.quote == "The Kestrel router comes with a two-year warranty."
    assert (outcome.abstained, outcome.degraded, done.cached, done.generation) == (False, (), False, 7)
    assert set(re.findall(r"\[\d+\]", outcome.answer)) == {each.marker for each in outcome.citations}
    assert {"retrieve", "rerank", "evidence", "prompt", "generate", "cite", "total"} <= set(done.timings_ms)


async def test_the_stream_says_what_the_answer_says(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    events = await everything(world.answerer(retriever, reranker, llm=world.Reciter()).stream(WARRANTY))
    done = events[-1]
    assert isinstance(done, Done)
    assert isinstance(events[0], Passages)
    assert events[0].ranked[0].passage.document_id == "kestrel"
    assert "".join(event.text for event in events if isinstance(event, Token)) == done.outcome.answer
    assert tuple(event.citation for event in events if isinstance(event, Cited)) == done.outcome.citations
    assert len(done.outcome.citations) > 3
    assert [event.usage for event in events if isinstance(event, Spent)] == [done.outcome.usage]
    assert done.outcome.usage.prompt_tokens == 10


async def test_abstains_and_says_what_was_looked_at(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    events = await everything(world.answerer(retriever, reranker).stream(NONSENSE))
    done = events[-1]
    assert isinstance(done, Done)
    assert done.outcome.abstained
    assert done.outcome.citations == ()
    assert done.outcome.answer.startswith("I found nothing in collection 'default' that answers this. The closest")
    assert any(title in done.outcome.answer for title, _ in world.SOURCES.values())
    assert "".join(event.text for event in events if isinstance(event, Token)) == done.outcome.answer


async def test_an_empty_collection_abstains(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    done = await world.answerer(retriever, reranker).answer(replace(WARRANTY, collection="empty"))
    assert done.outcome.abstained
    assert "'empty'" in done.outcome.answer


async def test_the_retrievers_errors_pass(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    asked = world.answerer(retriever, reranker)
    with pytest.raises(NotFound, match="there are default and empty"):
        await asked.answer(replace(WARRANTY, collection="nowhere"))
    with pytest.raises(InvalidRequest) as error:
        await asked.answer(replace(WARRANTY, filter_json='{"colour":"red"}'))
    assert error.value.errors[0]["field"] == "filter.colour"


async def test_a_filter_narrows_the_search(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    asked = world.answerer(retriever, reranker)
    done = await asked.answer(replace(WARRANTY, filter_json='{"kind":"queue"}'))
    assert done.outcome.abstained
    assert "Kestrel" not in done.outcome.answer


async def test_no_retriever_is_unavailable(away: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    with pytest.raises(Unavailable):
        await world.answerer(away, reranker).answer(WARRANTY)


async def test_goes_on_without_the_reranker(retriever: grpc.aio.Channel, away: grpc.aio.Channel) -> None:
    done = await world.answerer(retriever, away).answer(WARRANTY)
    assert done.outcome.degraded == ("rerank",)
    assert done.outcome.answer.startswith("The Kestrel router comes with a two-year warranty. [1]")


async def test_no_reranker_on_purpose_is_not_degraded(retriever: grpc.aio.Channel) -> None:
    done = await world.answerer(retriever, None).answer(WARRANTY)
    assert done.outcome.degraded == ()
    assert done.outcome.citations


@pytest.mark.parametrize("fails_after", [0, 3])
async def test_an_llm_that_fails_at_once_is_replaced(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel, fails_after: int
) -> None:
    done = await world.answerer(retriever, reranker, llm=world.Reciter(fails_after)).answer(WARRANTY)
    assert done.outcome.degraded == ("llm", "llm:reciter")
    assert done.outcome.model == "extractive"
    assert done.outcome.answer.startswith("The Kestrel router comes with a two-year warranty. [1]")


async def test_an_answer_that_breaks_off_is_made_anew_as_a_whole_and_fails_as_a_stream(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    done = await world.answerer(retriever, reranker, llm=world.Reciter(12)).answer(WARRANTY)
    assert done.outcome.degraded == ("llm", "llm:reciter")
    assert done.outcome.model == "extractive"
    assert "[2]" not in done.outcome.answer or len(done.outcome.citations) == 2
    events: list[Event] = []
    with pytest.raises(Unavailable, match="broke off") as error:
        await collected(world.answerer(retriever, reranker, llm=world.Reciter(12)).stream(WARRANTY), events)
    assert error.value.retry_after_s
    assert [event for event in events if isinstance(event, Token)]
    assert not [event for event in events if isinstance(event, Done | Spent)]


async def test_a_whole_answer_goes_on_where_a_stream_of_the_same_failed(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    llm = world.Reciter(fails_after=12, pauses_after=11)
    asked = world.answerer(retriever, reranker, llm=llm)
    stream = asked.stream(WARRANTY)
    await anext(stream)
    whole = asyncio.create_task(asked.answer(WARRANTY))
    async for event in stream:
        if isinstance(event, Token):
            break
    llm.pauses_after = None
    llm.go.set()
    with pytest.raises(Unavailable, match="broke off"):
        await everything(stream)
    assert (await whole).outcome.model == "extractive"
    assert llm.calls == 1


async def test_another_llm_stands_in_and_can_be_asked_for(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    second = world.Reciter()
    second.name = "second"
    asked = world.answerer(retriever, reranker)
    asked.llms = world.roster(world.Reciter(0), second)
    done = await asked.answer(WARRANTY)
    assert (done.outcome.model, done.outcome.degraded) == ("second", ("llm:reciter",))
    done = await asked.answer(replace(WARRANTY, llm="second"))
    assert (done.outcome.model, done.outcome.degraded) == ("second", ())
    done = await asked.answer(replace(WARRANTY, llm="extractive"))
    assert (done.outcome.model, done.outcome.degraded) == ("extractive", ())
    with pytest.raises(InvalidRequest, match="'third' is not set up; there are: extractive, reciter,") as no:
        await asked.answer(replace(WARRANTY, llm="third"))
    assert no.value.errors[0]["field"] == "llm"


async def test_a_kept_answer_is_served_until_the_generation_changes(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel, shelf: world.Shelf
) -> None:
    llm = world.Reciter()
    asked = world.answerer(retriever, reranker, llm=llm, cache=ragline.cache.open("memory://?max_mb=1"))
    first = await asked.answer(WARRANTY)
    again = await asked.answer(WARRANTY)
    assert (first.cached, again.cached, llm.calls) == (False, True, 1)
    assert again.outcome.answer == first.outcome.answer
    assert again.outcome.citations == first.outcome.citations
    assert again.outcome.usage == Usage()
    assert again.id != first.id
    events = await everything(asked.stream(WARRANTY))
    assert "".join(event.text for event in events if isinstance(event, Token)) == first.outcome.answer
    for other in (
        replace(WARRANTY, query="How long is the warranty?"),
        replace(WARRANTY, tenant="other"),
        replace(WARRANTY, temperature=0.5),
        replace(WARRANTY, explain=True),
    ):
        assert not (await asked.answer(other)).cached
    shelf.generation += 1
    assert not (await asked.answer(WARRANTY)).cached


async def test_a_degraded_answer_is_not_kept(retriever: grpc.aio.Channel, away: grpc.aio.Channel) -> None:
    asked = world.answerer(retriever, away, cache=ragline.cache.open("memory://?max_mb=1"))
    await asked.answer(WARRANTY)
    assert not (await asked.answer(WARRANTY)).cached


async def test_equal_questions_at_once_are_written_once(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    llm = world.Reciter()
    llm.go.clear()
    asked = world.answerer(retriever, reranker, llm=llm)
    streams = [asked.stream(WARRANTY) for _ in range(10)]
    for stream in streams:
        await anext(stream)
    llm.go.set()
    answers = [events[-1] for events in await asyncio.gather(*map(everything, streams))]
    assert llm.calls == 1
    assert len({done.outcome.answer for done in answers if isinstance(done, Done)}) == 1


async def test_the_llm_stops_when_the_last_reader_leaves(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    llm = world.Reciter(pauses_after=12)
    asked = world.answerer(retriever, reranker, llm=llm)
    events = asked.stream(WARRANTY)
    other = asked.stream(WARRANTY)
    async for event in events:
        if isinstance(event, Token):
            break
    await anext(other)
    await events.aclose()
    assert not llm.closed.is_set()
    await other.aclose()
    await llm.closed.wait()
    assert llm.words == 12
    assert not asked.answers.shared.streams


async def test_too_many_at_once_are_refused(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    llm = world.Reciter()
    llm.go.clear()
    asked = world.answerer(retriever, reranker, llm=llm, waiting=1)
    first = asked.stream(WARRANTY)
    await anext(first)
    with pytest.raises(Overloaded, match="GENERATOR_MAX_WAITING"):
        await asked.answer(WARRANTY)
    llm.go.set()
    assert isinstance((await everything(first))[-1], Done)


async def test_explains_each_stage(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    explain = (await world.answerer(retriever, reranker).answer(replace(WARRANTY, explain=True))).outcome.explain
    assert explain is not None
    assert explain["scorer"] == "overlap"
    assert explain["passages"][0]["document_id"] == "kestrel"
    assert {"rank", "score", "retrieve_rank", "retrieve_score", "sparse_rank"} <= set(explain["passages"][0])
    assert explain["abstention"]["chance"] >= explain["abstention"]["abstain_below"]
    assert explain["prompt"][-1]["content"].endswith(WARRANTY.query)
    assert explain["sentences"][0]["text"] == "The Kestrel router comes with a two-year warranty."
