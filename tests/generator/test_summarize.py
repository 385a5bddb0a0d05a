"""Summaries of text of any length."""

import asyncio
from collections.abc import AsyncGenerator

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragline.errors import InvalidRequest, NotFound, TooLarge, Unavailable
from services.generator import prompt
from services.generator.events import Token
from services.generator.llms import Piece, Usage
from services.generator.llms.extractive import Extractive
from services.generator.prompt import Prompt
from services.generator.summarize import Summary, Texts, split
from tests.generator import world

LONG = " ".join(f"The pump number {at} of the harbour moves {at * 3} litres of water." for at in range(600))


class Opener(Extractive):
    """Says how the text begins, what else it says, and adds something invented; counts what runs at once."""

    name = "opener"
    context_tokens = 1024

    def __init__(self, said: str = "") -> None:
        super().__init__()
        self.said = said
        self.longest = self.running = self.most = self.calls = 0

    async def generate(self, ask: Prompt, *, max_tokens: int, temperature: float) -> AsyncGenerator[Piece, None]:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.longest = max(self.longest, prompt.tokens(ask.user))
        await asyncio.sleep(0)
        first = min(ask.sentences, key=lambda each: each.start)
        yield Piece(f"{first.text} {self.said}")
        self.running -= 1
        yield Piece(usage=Usage(5, 2))


class Broken(Opener):
    """Is away."""

    async def generate(self, ask: Prompt, *, max_tokens: int, temperature: float) -> AsyncGenerator[Piece, None]:
        if ask.sentences:
            raise Unavailable("It is away.")
        yield Piece()


def texts(text: str | None, *ids: str) -> Texts:
    return Texts("default", "default", text, ids)


async def test_short_text_takes_one_step(retriever: grpc.aio.Channel) -> None:
    llm = Opener()
    made = await world.summarizer(retriever, llm=llm).summarize(texts(world.QUEUE_SOURCE), 100)
    assert made.summary == "A lost message is sent again after a back-off of five seconds."
    assert (llm.calls, made.usage, made.model, made.degraded) == (1, Usage(5, 2), "opener", ())
    assert made.timings_ms["total"] > 0


async def test_long_text_is_mapped_and_reduced(retriever: grpc.aio.Channel) -> None:
    llm = Opener()
    made = await world.summarizer(retriever, llm=llm).summarize(texts(LONG), 100)
    assert made.summary == "The pump number 0 of the harbour moves 0 litres of water."
    assert llm.calls > 5
    assert llm.most == 2  # as the limits say
    assert llm.longest <= llm.context_tokens
    assert made.usage == Usage(5 * llm.calls, 2 * llm.calls)


async def test_what_the_text_does_not_hold_is_dropped(retriever: grpc.aio.Channel) -> None:
    llm = Opener("It was built by Karl Marx. It cost 77 euros. Dead letters can be listed.")
    made = await world.summarizer(retriever, llm=llm).summarize(texts(world.QUEUE_SOURCE), 100)
    assert "Marx" not in made.summary
    assert "77" not in made.summary
    assert made.summary.endswith("Dead letters can be listed.")


async def test_goes_on_without_the_llm(retriever: grpc.aio.Channel) -> None:
    made = await world.summarizer(retriever, llm=Broken()).summarize(texts(LONG), 100)
    assert (made.model, made.degraded) == ("extractive", ("llm", "llm:opener"))
    assert "The pump number" in made.summary


async def test_documents_of_a_collection(retriever: grpc.aio.Channel) -> None:
    asked = world.summarizer(retriever)
    made = await asked.summarize(texts(None, "queue", "museum", "queue"), 1000)
    assert "lost message" in made.summary
    assert "fishing boats" in made.summary
    with pytest.raises(NotFound):
        await asked.summarize(texts(None, "nowhere"), 100)


async def test_limits(retriever: grpc.aio.Channel) -> None:
    asked = world.summarizer(retriever, max_chars=100)
    with pytest.raises(TooLarge, match="GENERATOR_MAX_SUMMARY_CHARS"):
        await asked.summarize(texts(LONG), 100)
    with pytest.raises(InvalidRequest):
        await asked.summarize(texts(" \n\t"), 100)


async def test_the_stream_is_the_summary(retriever: grpc.aio.Channel) -> None:
    events = [event async for event in world.summarizer(retriever).stream(texts(world.QUEUE_SOURCE), 100)]
    done = events[-1]
    assert isinstance(done, Summary)
    assert "".join(event.text for event in events if isinstance(event, Token)) == done.summary


@settings(deadline=None)
@given(st.text(max_size=3000), st.integers(64, 400))
def test_split_keeps_all_text_within_the_budget(text: str, budget: int) -> None:
    parts = split(text, budget)
    assert all(prompt.tokens(part) <= budget for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_a_line_without_an_end_is_split() -> None:
    parts = split("word" * 25_000, 500)
    assert "".join(parts) == "word" * 25_000
    assert all(prompt.tokens(part) <= 500 for part in parts)
